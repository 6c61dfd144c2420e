package onnx

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
)

// Device is what a model computes on.
type Device string

// The devices, and Auto, which takes the first usable of them in this order.
const (
	Auto   Device = "auto"
	CUDA   Device = "cuda"
	WebGPU Device = "webgpu"
	CPU    Device = "cpu"
)

// ParseDevice reads the setting; "" is Auto.
func ParseDevice(text string) (Device, error) {
	switch d := Device(strings.ToLower(text)); d {
	case "":
		return Auto, nil
	case Auto, CUDA, WebGPU, CPU:
		return d, nil
	}
	return "", fmt.Errorf("%q is no device: auto, cuda, webgpu or cpu", text)
}

// Found is what is known of a device on this machine.
type Found struct {
	Device Device
	Detail string // what it is
	Why    string // why it cannot be used; "" when it can
	Named  bool   // it works and is slow: used only when the setting names it
}

// choose is the device for what the setting wants: the first that works for
// Auto, and the CPU with an error for one that is named and cannot be used.
func choose(want Device, found []Found) (Device, error) {
	for _, f := range found {
		if want == Auto && f.Why == "" && !f.Named {
			return f.Device, nil
		}
		if want == f.Device {
			if f.Why != "" {
				return CPU, fmt.Errorf("device %s: %s", want, f.Why)
			}
			return want, nil
		}
	}
	return CPU, nil
}

// probes are how devices are looked for; tests put others in.
type probes struct {
	exists   func(path string) bool
	adapters func() ([]adapter, error)
	try      func(Device) error // makes a session on it and runs it
}

func machine(try func(Device) error) probes {
	return probes{
		exists:   func(path string) bool { _, err := os.Stat(path); return err == nil },
		adapters: vulkanAdapters, try: try,
	}
}

// look tells about every device, in the order of preference.
func (p probes) look(library string) []Found {
	return []Found{
		p.cuda(filepath.Join(filepath.Dir(library), "libonnxruntime_providers_cuda.so")),
		p.webgpu(),
		{Device: CPU, Detail: fmt.Sprintf("%s, %d cores", runtime.GOARCH, runtime.NumCPU())},
	}
}

func (p probes) cuda(provider string) Found {
	f := Found{Device: CUDA, Detail: "NVIDIA through " + filepath.Base(provider)}
	if !p.exists(provider) {
		f.Why = "no " + provider + " (it comes with the GPU build of the runtime)"
		return f
	}
	if err := p.try(CUDA); err != nil {
		f.Why = oneLine(err)
	}
	return f
}

func (p probes) webgpu() Found {
	f := Found{Device: WebGPU, Detail: "any GPU through Vulkan"}
	adapters, err := p.adapters()
	if err == nil && len(adapters) == 0 {
		err = errors.New("no adapter among the Vulkan drivers")
	}
	if err != nil {
		f.Why = oneLine(err)
		return f
	}
	var names []string
	f.Named = true
	for _, a := range adapters {
		f.Named = f.Named && a.cpu
		if a.cpu {
			a.name += " (a CPU)"
		}
		names = append(names, a.name)
	}
	f.Detail = strings.Join(names, ", ")
	if err := p.try(WebGPU); err != nil {
		f.Why = oneLine(err)
	}
	return f
}

// oneLine keeps the beginning of an error whose runtime writes pages.
func oneLine(err error) string {
	text := strings.Join(strings.Fields(err.Error()), " ")
	if len(text) > 300 {
		text = text[:300] + " …"
	}
	return text
}
