package onnx

import (
	"errors"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"agora/ranker"
)

func TestDeviceOrderIsCudaThenGpuThenCpu(t *testing.T) {
	works, fails := func(Device) error { return nil }, func(Device) error { return errors.New("driver missing") }
	there, absent := func(string) bool { return true }, func(string) bool { return false }
	list := func(all ...adapter) func() ([]adapter, error) { return func() ([]adapter, error) { return all, nil } }
	noLoader := func() ([]adapter, error) { return nil, errors.New("no Vulkan loader") }
	gpu, lavapipe := adapter{"Some GPU", false}, adapter{"llvmpipe", true}
	for name, c := range map[string]struct {
		p    probes
		want map[Device]Device // setting to choice; "" for the CPU and why
	}{
		"everything":          {probes{there, list(gpu), works}, map[Device]Device{Auto: CUDA, CUDA: CUDA, WebGPU: WebGPU, CPU: CPU}},
		"no provider":         {probes{absent, list(gpu), works}, map[Device]Device{Auto: WebGPU, CUDA: "", WebGPU: WebGPU, CPU: CPU}},
		"cuda does not work":  {probes{there, list(), fails}, map[Device]Device{Auto: CPU, CUDA: "", WebGPU: ""}},
		"no loader":           {probes{absent, noLoader, works}, map[Device]Device{Auto: CPU, WebGPU: "", CPU: CPU}},
		"no adapter":          {probes{absent, list(), works}, map[Device]Device{Auto: CPU, WebGPU: ""}},
		"a CPU adapter":       {probes{absent, list(lavapipe), works}, map[Device]Device{Auto: CPU, WebGPU: WebGPU, CPU: CPU}},
		"both adapters":       {probes{absent, list(lavapipe, gpu), works}, map[Device]Device{Auto: WebGPU}},
		"the GPU fails":       {probes{absent, list(gpu), fails}, map[Device]Device{Auto: CPU, WebGPU: "", CPU: CPU}},
		"CPU adapter, broken": {probes{absent, list(lavapipe), fails}, map[Device]Device{Auto: CPU, WebGPU: ""}},
	} {
		found := c.p.look("/lib/libonnxruntime.so.1")
		for want, expect := range c.want {
			got, err := choose(want, found)
			if expect == "" && (got != CPU || err == nil || !strings.Contains(err.Error(), string(want))) || expect != "" && (got != expect || err != nil) {
				t.Errorf("%s: --device %s gives %q, %v", name, want, got, err)
			}
		}
		for _, f := range found {
			if f.Device == Device("") || f.Detail == "" {
				t.Errorf("%s: %+v says too little", name, f)
			}
		}
	}
}

func TestEachDeviceThatCannotBeUsedSaysWhy(t *testing.T) {
	for _, f := range testRuntime(t).Devices() {
		if f.Device != CPU && f.Why == "" {
			t.Logf("%s is usable here: %s", f.Device, f.Detail)
			continue
		}
		if f.Device != CPU && len(f.Why) < 10 {
			t.Errorf("%s: %q", f.Device, f.Why)
		}
	}
}

func TestDeviceNamesAreParsed(t *testing.T) {
	for text, want := range map[string]Device{"": Auto, "auto": Auto, "CUDA": CUDA, "webgpu": WebGPU, "cpu": CPU, "tpu": "", "gpu": ""} {
		if got, err := ParseDevice(text); got != want || (err != nil) != (want == "") {
			t.Errorf("%q: %q, %v", text, got, err)
		}
	}
}

// TestAnOlderLibraryIsRefusedByItsVersion builds libraries that say so.
func TestAnOlderLibraryIsRefusedByItsVersion(t *testing.T) {
	source := `typedef struct { const void *(*api)(unsigned); const char *(*version)(void); } base;
static const void *api(unsigned v) { (void)v; return 0; }
static const char *version(void) { return VERSION; }
static base it = { api, version };
const base *OrtGetApiBase(void) { return &it; }`
	for version, why := range map[string]string{"1.24.3": "1.24.3 is too old", "1.29.9": "1.29.9 is too old", "1.30.0": ""} {
		path := filepath.Join(t.TempDir(), libraryName)
		cc := exec.Command("gcc", "-shared", "-fPIC", `-DVERSION="`+version+`"`, "-x", "c", "-o", path, "-")
		cc.Stdin = strings.NewReader(source)
		if out, err := cc.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		got, err := libraryVersion(path)
		if why == "" {
			if got != version || err != nil {
				t.Errorf("%s: %q, %v", version, got, err)
			}
			continue
		}
		if err == nil || !strings.Contains(err.Error(), why) || !strings.Contains(err.Error(), "make onnxruntime") || !errors.Is(err, ranker.ErrNoRuntime) {
			t.Errorf("%s: %v", version, err)
		}
	}
}

// TestWebGpuGivesTheScoresOfTheCpu runs where Vulkan names an adapter, a
// software one included; elsewhere it holds New to the CPU and a reason.
func TestWebGpuGivesTheScoresOfTheCpu(t *testing.T) {
	everything := func(ranker.Digest) bool { return true }
	r, err := New(Config{Library: testLibrary, Device: WebGPU, Logger: slog.New(slog.DiscardHandler), Admit: everything})
	if err != nil {
		t.Fatal(err)
	}
	if r.Refused() != nil {
		if r.Device() != CPU || os.Getenv("AGORA_TEST_WEBGPU") != "" {
			t.Fatalf("on %s: %v", r.Device(), r.Refused())
		}
		t.Logf("no adapter here: %v", r.Refused())
		return
	}
	names := catalogueFloats(60)
	models := map[string][]byte{
		"identity": identityModel(), "linear": linearModel(names), "dense": denseModel(names, 64, 32),
		"trees": treeModel(names, 50, 5, 5), "history": historyModel(),
	}
	for _, m := range shipped(t) {
		models[m.name] = m.model
	}
	for name, model := range models {
		loaded, err := r.Load(t.Context(), model)
		if err != nil {
			t.Fatal(err)
		}
		s := loaded.(*Session)
		t.Logf("%s runs on %s %s", name, s.Device(), s.Note())
		onCPU := load(t, model)
		if err := agree(t.Context(), onCPU, s); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if s.Device() == CPU && s.Note() == "" {
			t.Errorf("%s runs on the CPU and does not say why", name)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestGpuScoresMustBeTheCpus(t *testing.T) {
	if err := differ([]float32{1, 2, 1000}, []float32{1.00005, 2, 1000.05}); err != nil {
		t.Error(err)
	}
	for _, other := range [][]float32{{1.0002, 2, 1000}, {1, 2, 1000.2}, {1, 2}} {
		if differ([]float32{1, 2, 1000}, other) == nil {
			t.Errorf("%v passes", other)
		}
	}
}

func TestAModelThatTheGpuCannotRunStaysOnTheCpuAndSaysSo(t *testing.T) {
	r := testRuntime(t)
	r.device = CUDA // whose provider is not there
	s, err := r.Load(t.Context(), identityModel())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if got := s.(*Session); got.Device() != CPU || !strings.Contains(got.Note(), "pinned to the CPU") {
		t.Errorf("on %s, %q", got.Device(), got.Note())
	}
}

// TestAGpuThatScoresOtherwiseLosesTheModel puts another model's session where
// the GPU's would be.
func TestAGpuThatScoresOtherwiseLosesTheModel(t *testing.T) {
	r := testRuntime(t)
	r.device = WebGPU
	open := func(model []byte, d Device) *Session {
		graph, err := inspect(model)
		if err != nil {
			t.Fatal(err)
		}
		s, err := r.open(model, graph, CPU)
		if err != nil {
			t.Fatal(err)
		}
		s.device = d
		return s
	}
	for name, c := range map[string]struct {
		other []byte
		want  Device
	}{"the same": {identityModel(), WebGPU}, "another": {simple("Neg"), CPU}} {
		onCPU, gpu := open(identityModel(), CPU), open(c.other, WebGPU)
		kept := r.keep(onCPU, gpu, agree(t.Context(), onCPU, gpu), ranker.Digest{})
		if kept.Device() != c.want || (kept.Note() != "") != (c.want == CPU) {
			t.Errorf("%s: on %s, %q", name, kept.Device(), kept.Note())
		}
		if onCPU.closed == gpu.closed || kept.closed {
			t.Errorf("%s: the session that is not kept stays open", name)
		}
		if err := kept.Close(); err != nil {
			t.Error(err)
		}
	}
}
