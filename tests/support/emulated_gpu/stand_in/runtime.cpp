// The functions of CUDA's runtime that CuPy calls. CuPy has the real runtime inside; redirect.py makes each cuda…
// there jump to emulated_cuda… here.
#include <chrono>
#include <cstdio>
#include <cstring>

#include "gpus.h"

using namespace emulated;

namespace {

thread_local int last_error = 0;

int answer(int status) {
    if (status) last_error = status;
    return status;
}

u64 number(const void* address) { return reinterpret_cast<u64>(address); }

int copy(void* to, const void* from, size_t size, int kind) {
    u64 to_offset = 0, from_offset = 0;
    Allocation* const target = kind == cudaMemcpyDeviceToHost ? nullptr : find_allocation(number(to), size, to_offset);
    Allocation* const source = kind == cudaMemcpyHostToDevice ? nullptr : find_allocation(number(from), size, from_offset);
    if ((kind != cudaMemcpyDeviceToHost && !target) || (kind != cudaMemcpyHostToDevice && !source)) {
        report("device memory was freed before a copy of it ran");
        return cudaErrorIllegalAddress;
    }
    if (kind == cudaMemcpyDeviceToHost) {
        const u8* const written = &source->written[from_offset];
        if (const void* const gap = memchr(written, 0, size))
            report("byte " + std::to_string(static_cast<const u8*>(gap) - written) + " of " + std::to_string(size) +
                   " copied to the host was never written");
    }
    if (kind == cudaMemcpyHostToDevice) totals.to_device_bytes += size;
    if (kind == cudaMemcpyDeviceToHost) totals.to_host_bytes += size;
    memcpy(target ? &target->bytes[to_offset] : to, source ? &source->bytes[from_offset] : from, size);
    if (target && source) memcpy(&target->written[to_offset], &source->written[from_offset], size);
    else if (target) memset(&target->written[to_offset], 1, size);
    return cudaSuccess;
}

int fill(u64 address, int value, size_t size) {
    u64 offset;
    Allocation* const target = find_allocation(address, size, offset);
    if (!target) {
        report("device memory was freed before it was set");
        return cudaErrorIllegalAddress;
    }
    memset(&target->bytes[offset], value, size);
    memset(&target->written[offset], 1, size);
    return cudaSuccess;
}

}  // namespace

// ---- Devices

API int emulated_cudaDriverGetVersion(int* version) { return *version = CUDART_VERSION, cudaSuccess; }
API int emulated_cudaRuntimeGetVersion(int* version) { return *version = CUDART_VERSION, cudaSuccess; }
API int emulated_cudaGetDeviceCount(int* count) {
    *count = int(devices().size());
    return answer(*count ? cudaSuccess : cudaErrorNoDevice);
}
API int emulated_cudaGetDevice(int* device) { return *device = current_device, cudaSuccess; }
API int emulated_cudaSetDevice(int device) { return answer(set_device(device)); }
API int emulated_cudaGetDeviceProperties(cudaDeviceProp* found, int device) {
    if (device < 0 || device >= int(devices().size())) return answer(cudaErrorInvalidDevice);
    *found = properties();
    return cudaSuccess;
}
API int emulated_cudaGetDeviceProperties_v2(cudaDeviceProp* found, int device) {
    return emulated_cudaGetDeviceProperties(found, device);
}
API int emulated_cudaDeviceGetAttribute(int* value, int attribute, int device) {
    if (device < 0 || device >= int(devices().size())) return answer(cudaErrorInvalidDevice);
    const cudaDeviceProp found = properties();
    switch (attribute) {
        case cudaDevAttrMaxThreadsPerBlock: *value = found.maxThreadsPerBlock; break;
        case cudaDevAttrMaxSharedMemoryPerBlock: *value = int(found.sharedMemPerBlock); break;
        case cudaDevAttrMultiProcessorCount: *value = found.multiProcessorCount; break;
        case cudaDevAttrComputeCapabilityMajor: *value = found.major; break;
        case cudaDevAttrComputeCapabilityMinor: *value = found.minor; break;
        case cudaDevAttrMaxSharedMemoryPerBlockOptin: *value = int(found.sharedMemPerBlockOptin); break;
        case cudaDevAttrWarpSize: *value = found.warpSize; break;
        case cudaDevAttrMemoryPoolsSupported: *value = 1; break;
        default: *value = 0;
    }
    return cudaSuccess;
}
API int emulated_cudaDeviceCanAccessPeer(int* can, int, int) { return *can = 0, cudaSuccess; }
API int emulated_cudaDeviceSynchronize() {
    Device* const device = enter_device();
    if (!device) return answer(cudaErrorInvalidDevice);
    for (Stream* stream : streams_of(device)) drain(stream);
    return answer(device->fault);
}

// ---- Memory

API int emulated_cudaMemGetInfo(size_t* free, size_t* total) {
    Device* const device = enter_device();
    if (!device) return answer(cudaErrorInvalidDevice);
    *total = settings().memory_bytes;
    *free = *total - device->used_bytes;
    return answer(device->fault);
}
API int emulated_cudaMalloc(void** address, size_t size) {
    Device* const device = enter_device();
    u64 found = 0;
    const int status = device ? allocate(device, size, found) : int(cudaErrorInvalidDevice);
    *address = reinterpret_cast<void*>(found);
    return answer(status);
}
API int emulated_cudaFree(void* address) {
    Device* const device = enter_device();
    if (!device) return answer(cudaErrorInvalidDevice);
    if (!address) return cudaSuccess;
    for (Stream* stream : streams_of(device)) drain(stream);  // the real one waits for the device as well
    return answer(release(number(address)) ? cudaSuccess : cudaErrorInvalidValue);
}
API int emulated_cudaHostAlloc(void** address, size_t size, unsigned) {
    return answer(enter_device() ? pin(size, address) : int(cudaErrorInvalidDevice));
}
API int emulated_cudaFreeHost(void* address) { return answer(unpin(address) ? cudaSuccess : cudaErrorInvalidValue); }
API int emulated_cudaMemcpyAsync(void* to, const void* from, size_t size, int kind, void* handle) {
    Device* const device = enter_device();
    Stream* const stream = device ? find_stream(handle, device) : nullptr;
    if (!stream) return answer(cudaErrorInvalidResourceHandle);
    if (stream->device != device) {
        report("a copy in a stream of another device than the current one");
        return answer(cudaErrorInvalidResourceHandle);
    }
    if (size == 0) return cudaSuccess;
    const bool is_to_host = kind == cudaMemcpyDeviceToHost, is_on_device = kind == cudaMemcpyDeviceToDevice;
    if (!is_to_host && !is_on_device && kind != cudaMemcpyHostToDevice) return answer(cudaErrorInvalidMemcpyDirection);
    const void* const there = is_to_host ? from : to;
    const void* const host = is_to_host ? to : from;
    u64 offset;
    if (!find_allocation(number(there), size, offset)) return answer(cudaErrorInvalidValue);
    if (!is_on_device && is_device_address(number(host))) return answer(cudaErrorInvalidValue);
    if (!is_on_device && !is_pinned(host, size)) {  // then the call waits
        drain(stream);
        return answer(copy(to, from, size, kind));
    }
    put(stream, [=] { return copy(to, from, size, kind); });
    return cudaSuccess;
}
API int emulated_cudaMemcpy(void* to, const void* from, size_t size, int kind) {
    Device* const device = enter_device();
    if (!device) return answer(cudaErrorInvalidDevice);
    drain(&device->null_stream);
    return answer(size ? copy(to, from, size, kind) : int(cudaSuccess));
}
API int emulated_cudaMemsetAsync(void* address, int value, size_t size, void* handle) {
    Device* const device = enter_device();
    Stream* const stream = device ? find_stream(handle, device) : nullptr;
    u64 offset;
    if (!stream || stream->device != device) return answer(cudaErrorInvalidResourceHandle);
    if (size && !find_allocation(number(address), size, offset)) return answer(cudaErrorInvalidValue);
    if (size) put(stream, [=] { return fill(number(address), value, size); });
    return cudaSuccess;
}
API int emulated_cudaMemset(void* address, int value, size_t size) {
    return emulated_cudaMemsetAsync(address, value, size, nullptr);
}
API int emulated_cudaPointerGetAttributes(cudaPointerAttributes* found, const void* address) {
    memset(found, 0, sizeof *found);
    u64 offset;
    if (const Allocation* const allocation = find_allocation(number(address), 1, offset)) {
        found->type = cudaMemoryTypeDevice;
        found->device = allocation->device->number;
        found->devicePointer = const_cast<void*>(address);
    } else {
        found->type = is_pinned(address, 1) ? cudaMemoryTypeHost : cudaMemoryTypeUnregistered;
        found->device = -1;
        found->hostPointer = const_cast<void*>(address);
    }
    return cudaSuccess;
}

// ---- Streams

API int emulated_cudaStreamCreateWithFlags(void** handle, unsigned flags) {
    Device* const device = enter_device();
    if (!device) return answer(cudaErrorInvalidDevice);
    *handle = new_stream(device, !(flags & cudaStreamNonBlocking));
    return answer(device->fault);
}
API int emulated_cudaStreamCreate(void** handle) { return emulated_cudaStreamCreateWithFlags(handle, 0); }
API int emulated_cudaStreamCreateWithPriority(void** handle, unsigned flags, int) {
    return emulated_cudaStreamCreateWithFlags(handle, flags);
}
API int emulated_cudaStreamDestroy(void* handle) {
    return answer(delete_stream(find_stream(handle, enter_device())) ? cudaSuccess : cudaErrorInvalidResourceHandle);
}
API int emulated_cudaStreamSynchronize(void* handle) {
    Stream* const stream = find_stream(handle, enter_device());
    return answer(stream ? drain(stream) : int(cudaErrorInvalidResourceHandle));
}
API int emulated_cudaStreamQuery(void* handle) {
    Stream* const stream = find_stream(handle, enter_device());
    if (!stream) return answer(cudaErrorInvalidResourceHandle);
    const int fault = drain(stream, 1);
    const std::lock_guard<std::recursive_mutex> lock(tables);
    return fault ? fault : stream->work.empty() ? cudaSuccess : cudaErrorNotReady;
}
API int emulated_cudaStreamIsCapturing(void*, int* status) { return *status = 0, cudaSuccess; }
API int emulated_cudaStreamGetFlags(void* handle, unsigned* flags) {
    Stream* const stream = find_stream(handle, enter_device());
    if (!stream) return answer(cudaErrorInvalidResourceHandle);
    *flags = stream->is_blocking ? 0 : cudaStreamNonBlocking;
    return cudaSuccess;
}
API int emulated_cudaStreamWaitEvent(void* handle, void* event_handle, unsigned) {
    Stream* const stream = find_stream(handle, enter_device());
    Event* const event = find_event(event_handle);
    if (!stream || !event) return answer(cudaErrorInvalidResourceHandle);
    put(stream, [event] { return wait_for(event), cudaSuccess; });
    return cudaSuccess;
}

// ---- Events

API int emulated_cudaEventCreateWithFlags(void** handle, unsigned flags) {
    Device* const device = enter_device();
    if (!device) return answer(cudaErrorInvalidDevice);
    *handle = new_event(device, !(flags & cudaEventDisableTiming));
    return cudaSuccess;
}
API int emulated_cudaEventCreate(void** handle) { return emulated_cudaEventCreateWithFlags(handle, 0); }
API int emulated_cudaEventDestroy(void* handle) {
    return answer(delete_event(handle) ? cudaSuccess : cudaErrorInvalidResourceHandle);
}
API int emulated_cudaEventRecord(void* handle, void* stream_handle) {
    Stream* const stream = find_stream(stream_handle, enter_device());
    Event* const event = find_event(handle);
    if (!event || !stream || event->device != stream->device) {
        report("an event is recorded in a stream of another device");
        return answer(cudaErrorInvalidResourceHandle);
    }
    event->stream = stream;
    event->pending++;
    put(stream, [event] {
        const auto now = std::chrono::steady_clock::now().time_since_epoch();
        event->milliseconds = std::chrono::duration<double, std::milli>(now).count();
        event->pending--;
        return cudaSuccess;
    });
    return answer(stream->device->fault);
}
API int emulated_cudaEventQuery(void* handle) {
    Event* const event = find_event(handle);
    if (!event) return answer(cudaErrorInvalidResourceHandle);
    if (event->stream && event->pending) drain(event->stream, 1);
    return event->device->fault ? int(event->device->fault) : event->pending ? cudaErrorNotReady : cudaSuccess;
}
API int emulated_cudaEventSynchronize(void* handle) {
    Event* const event = find_event(handle);
    if (!event) return answer(cudaErrorInvalidResourceHandle);
    wait_for(event);
    return answer(event->device->fault);
}
API int emulated_cudaEventElapsedTime(float* milliseconds, void* start, void* stop) {
    Event *const first = find_event(start), *const last = find_event(stop);
    if (!first || !last || !first->stream || !last->stream || !first->has_time || !last->has_time)
        return answer(cudaErrorInvalidResourceHandle);
    if (first->pending || last->pending) return answer(cudaErrorNotReady);
    *milliseconds = float(last->milliseconds - first->milliseconds);
    return cudaSuccess;
}

// ---- Errors

API const char* emulated_cudaGetErrorName(int status) {
    switch (status) {
        case cudaSuccess: return "cudaSuccess";
        case cudaErrorInvalidValue: return "cudaErrorInvalidValue";
        case cudaErrorMemoryAllocation: return "cudaErrorMemoryAllocation";
        case cudaErrorDevicesUnavailable: return "cudaErrorDevicesUnavailable";
        case cudaErrorNoDevice: return "cudaErrorNoDevice";
        case cudaErrorInvalidDevice: return "cudaErrorInvalidDevice";
        case cudaErrorDeviceUninitialized: return "cudaErrorDeviceUninitialized";
        case cudaErrorNoKernelImageForDevice: return "cudaErrorNoKernelImageForDevice";
        case cudaErrorInvalidResourceHandle: return "cudaErrorInvalidResourceHandle";
        case cudaErrorSymbolNotFound: return "cudaErrorSymbolNotFound";
        case cudaErrorNotReady: return "cudaErrorNotReady";
        case cudaErrorIllegalAddress: return "cudaErrorIllegalAddress";
        case cudaErrorLaunchOutOfResources: return "cudaErrorLaunchOutOfResources";
        case cudaErrorMisalignedAddress: return "cudaErrorMisalignedAddress";
        default: return "cudaErrorUnknown";
    }
}
API const char* emulated_cudaGetErrorString(int status) { return emulated_cudaGetErrorName(status) + strlen("cuda"); }
API int emulated_cudaGetLastError() {
    const int status = last_error;
    last_error = cudaSuccess;
    return status;
}
API int emulated_cudaPeekAtLastError() { return last_error; }

// Called instead of any other function of the runtime, with its name.
API int emulated_missing(const char* name) {
    report(string(name) + " is called, which is not emulated");
    return answer(cudaErrorNotSupported);
}
API void emulated_describe(char* text, u32 room) { snprintf(text, room, "%s", describe_use().c_str()); }
