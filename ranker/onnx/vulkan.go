package onnx

/*
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

// The few parts of vulkan_core.h that counting adapters needs. Dispatchable
// handles are pointers; VkPhysicalDeviceProperties is 824 bytes, of which the
// first are apiVersion, driverVersion, vendorID, deviceID, deviceType and
// deviceName[256].
typedef struct {
	int32_t sType;
	const void *pNext;
	uint32_t flags;
	const void *pApplicationInfo;
	uint32_t layers;
	const char *const *layerNames;
	uint32_t extensions;
	const char *const *extensionNames;
} agora_instance_info;

typedef struct {
	uint32_t api, driver, vendor, device, type;
	char name[256];
	uint8_t rest[2048];
} agora_adapter;

typedef int32_t (*agora_create)(const agora_instance_info *, const void *, void **);
typedef int32_t (*agora_list)(void *, uint32_t *, void **);
typedef void (*agora_properties)(void *, agora_adapter *);
typedef void (*agora_destroy)(void *, const void *);

// agora_adapters fills at most max adapters and returns how many there are, or
// -1 with the reason in why.
static int agora_adapters(agora_adapter *out, uint32_t max, char *why, size_t size) {
	void *lib = dlopen("libvulkan.so.1", RTLD_LAZY | RTLD_LOCAL);
	if (!lib) {
		snprintf(why, size, "no Vulkan loader (%s)", dlerror());
		return -1;
	}
	agora_create create = (agora_create)dlsym(lib, "vkCreateInstance");
	agora_list list = (agora_list)dlsym(lib, "vkEnumeratePhysicalDevices");
	agora_properties properties = (agora_properties)dlsym(lib, "vkGetPhysicalDeviceProperties");
	agora_destroy destroy = (agora_destroy)dlsym(lib, "vkDestroyInstance");
	if (!create || !list || !properties || !destroy) {
		snprintf(why, size, "libvulkan.so.1 is no Vulkan loader");
		dlclose(lib);
		return -1;
	}
	agora_instance_info info;
	memset(&info, 0, sizeof info);
	info.sType = 1; // VK_STRUCTURE_TYPE_INSTANCE_CREATE_INFO
	void *instance = 0;
	int32_t status = create(&info, 0, &instance);
	if (status != 0) {
		snprintf(why, size, "no Vulkan driver (vkCreateInstance: %d)", status);
		dlclose(lib);
		return -1;
	}
	void *devices[16];
	uint32_t n = max < 16 ? max : 16;
	status = list(instance, &n, devices);
	if (status != 0 && status != 5) { // 5: VK_INCOMPLETE
		snprintf(why, size, "no Vulkan adapter (vkEnumeratePhysicalDevices: %d)", status);
		n = 0;
	}
	for (uint32_t i = 0; i < n; i++)
		properties(devices[i], &out[i]);
	destroy(instance, 0);
	return status != 0 && status != 5 ? -1 : (int)n;
}
*/
import "C"

import "errors"

// adapter is a graphics adapter as Vulkan names it.
type adapter struct {
	name string
	cpu  bool // it computes on the processor, as Mesa's lavapipe does
}

// vulkanAdapters asks the Vulkan loader, when there is one. The error is why
// it names none.
func vulkanAdapters() ([]adapter, error) {
	var out [16]C.agora_adapter
	var why [256]C.char
	n := C.agora_adapters(&out[0], C.uint32_t(len(out)), &why[0], C.size_t(len(why)))
	if n < 0 {
		return nil, errors.New(C.GoString(&why[0]))
	}
	var adapters []adapter
	for i := range int(n) {
		const typeCPU = 4 // VK_PHYSICAL_DEVICE_TYPE_CPU
		adapters = append(adapters, adapter{C.GoString(&out[i].name[0]), out[i]._type == typeCPU})
	}
	return adapters, nil
}
