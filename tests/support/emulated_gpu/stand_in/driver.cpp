// The functions of CUDA's driver that CuPy and NVRTC look up in libcuda.so.1: contexts, modules, launches.
#include <pthread.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <sstream>

#include "cubin.h"
#include "machine.h"  // the interpreter's

using namespace emulated;

API const char* emulated_cudaGetErrorName(int status);

namespace {

constexpr int NO_CONTEXT = 201, NO_BINARY = 200, INVALID_PTX = 218;  // CUDA_ERROR_…
constexpr int MAX_THREADS = 0, STATIC_SHARED = 1, REGISTERS = 4, MAX_DYNAMIC_SHARED = 8;  // CU_FUNC_ATTRIBUTE_…
constexpr u32 PLAIN_SHARED_BYTES = 48 << 10, REGISTER_FILE = 65536, REGISTER_UNIT = 256;  // of a warp
constexpr u64 MAX_INSTRUCTIONS = u64(1) << 40;

struct LoadedModule {
    Context* context;
    std::unique_ptr<ptx::Module> program;
    std::map<string, u32> registers;
};

struct Function {
    LoadedModule* module;
    const ptx::Kernel* kernel;
    u32 registers, max_dynamic_shared;
};

std::set<LoadedModule*> modules;
std::set<Function*> functions;
std::mutex interpreter;  // one kernel at a time

string ptx_path(const u8* image) { return settings().ptx_folder + "/" + digest_of(image) + ".ptx"; }

int refuse(int status, const string& finding) {
    report(finding);
    return status;
}

int run(const Function* function, Device* device, std::array<u32, 3> grid, std::array<u32, 3> block, u32 shared_bytes,
        const vector<u8>& parameters) {
    ptx::Counts counts{};
    ptx::Launch launch{};
    launch.kernel = function->kernel;
    launch.grid = grid.data();
    launch.block_size = block.data();
    launch.threads = block[0] * block[1] * block[2];
    launch.dynamic_bytes = shared_bytes;
    launch.parameters = parameters.data();
    launch.options = {settings().finds_races, settings().seed, MAX_INSTRUCTIONS};
    launch.counts = &counts;
    {
        const std::lock_guard<std::recursive_mutex> lock(tables);
        for (const auto& [address, allocation] : device->memory)
            launch.ranges.push_back(
                {address, address + allocation->bytes.size(), allocation->bytes.data(), allocation->written.data(), {}});
    }
    const std::lock_guard<std::mutex> lock(interpreter);
    const string findings = ptx::run_grid(launch);
    for (const u64 instructions : counts.instructions) totals.instructions += instructions;
    totals.lanes += counts.lanes;
    if (findings.empty()) return cudaSuccess;
    report(findings);
    return cudaErrorIllegalAddress;
}

}  // namespace

API int cuInit(unsigned) { return cudaSuccess; }
API int cuDriverGetVersion(int* version) { return *version = CUDART_VERSION, cudaSuccess; }
API int cuDeviceGetCount(int* count) { return *count = int(devices().size()), cudaSuccess; }
// NVRTC asks for private tables of the driver, and goes on without them.
API int cuGetExportTable(const void** table, const void*) { return *table = nullptr, cudaErrorSymbolNotFound; }
API int cuGetErrorName(int status, const char** text) { return *text = emulated_cudaGetErrorName(status), cudaSuccess; }
API int cuGetErrorString(int status, const char** text) { return cuGetErrorName(status, text); }

API int cuCtxGetCurrent(void** context) { return *context = current_context, cudaSuccess; }
API int cuCtxSetCurrent(void* context) {
    current_context = static_cast<Context*>(context);
    if (context) current_device = current_context->device->number;
    return cudaSuccess;
}
API int cuCtxGetDevice(int* device) {
    if (!current_context) return NO_CONTEXT;
    *device = current_context->device->number;
    return cudaSuccess;
}
API int cuDevicePrimaryCtxRelease(int) { return cudaSuccess; }

// ---- Modules

// Keeps the PTX from which NVRTC made a cubin, for this and other processes.
API void emulated_remember(const u8* image, const char* text) {
    const string path = ptx_path(image), draft = path + "." + std::to_string(getpid()) + "." + std::to_string(pthread_self());
    std::ofstream(draft) << text;
    rename(draft.c_str(), path.c_str());
}

API int cuModuleLoadData(void** handle, const void* data) {
    const u8* const image = static_cast<const u8*>(data);
    if (!current_context) return refuse(NO_CONTEXT, "a module is loaded without a context");
    if (!is_cubin(image)) return NO_BINARY;
    if (current_context->device->fault) return current_context->device->fault;
    const u32 made_for = architecture_of(image), capability = settings().capability;
    if (made_for / 10 != capability / 10 || made_for > capability) return cudaErrorNoKernelImageForDevice;
    std::ifstream file(ptx_path(image));
    std::stringstream text;
    text << file.rdbuf();
    if (!file) return NO_BINARY;  // as for a damaged one
    std::unique_ptr<LoadedModule> module(new LoadedModule{current_context, nullptr, registers_of(image)});
    try {
        module->program = ptx::parse(text.str());
    } catch (const ptx::Error& error) {
        return refuse(INVALID_PTX, "PTX is not understood: " + error.message);
    }
    const std::lock_guard<std::recursive_mutex> lock(tables);
    totals.modules_loaded++;
    *handle = *modules.insert(module.release()).first;
    return cudaSuccess;
}

API int cuModuleUnload(void* handle) {
    const std::lock_guard<std::recursive_mutex> lock(tables);
    LoadedModule* const module = static_cast<LoadedModule*>(handle);
    if (!modules.count(module)) return cudaErrorInvalidResourceHandle;
    if (current_context != module->context)
        return refuse(NO_CONTEXT, "a module is unloaded in another context than its own");
    totals.modules_unloaded++;
    modules.erase(module);  // its program stays, since pending work may refer to it
    return cudaSuccess;
}

API int cuModuleGetFunction(void** handle, void* module_handle, const char* name) {
    const std::lock_guard<std::recursive_mutex> lock(tables);
    LoadedModule* const module = static_cast<LoadedModule*>(module_handle);
    if (!modules.count(module)) return cudaErrorInvalidResourceHandle;
    if (!current_context) return refuse(NO_CONTEXT, "a function is asked for without a context");
    const auto found = module->program->kernels.find(name);
    if (found == module->program->kernels.end()) return cudaErrorSymbolNotFound;
    const u32 registers = module->registers.count(name) ? module->registers[name] : 0;
    if (!registers) report(string("the cubin has no code for ") + name);
    const ptx::Kernel* const kernel = found->second.get();
    *handle = *functions.insert(new Function{module, kernel, registers, PLAIN_SHARED_BYTES - kernel->shared_bytes}).first;
    return cudaSuccess;
}

API int cuFuncSetAttribute(void* handle, int attribute, int value) {
    const std::lock_guard<std::recursive_mutex> lock(tables);
    Function* const function = static_cast<Function*>(handle);
    if (!functions.count(function)) return cudaErrorInvalidResourceHandle;
    if (current_context != function->module->context)
        return refuse(NO_CONTEXT, "an attribute is set in another context than the function's");
    const u64 most = properties().sharedMemPerBlockOptin;
    if (attribute != MAX_DYNAMIC_SHARED || value < 0 || value + function->kernel->shared_bytes > most)
        return cudaErrorInvalidValue;
    function->max_dynamic_shared = u32(value);
    return cudaSuccess;
}

API int cuFuncGetAttribute(int* value, int attribute, void* handle) {
    const Function* const function = static_cast<Function*>(handle);
    const u32 bound = function->kernel->max_threads;
    switch (attribute) {
        case MAX_THREADS: *value = int(bound ? bound : 1024); break;
        case STATIC_SHARED: *value = int(function->kernel->shared_bytes); break;
        case REGISTERS: *value = int(function->registers); break;
        case MAX_DYNAMIC_SHARED: *value = int(function->max_dynamic_shared); break;
        default: *value = 0;
    }
    return cudaSuccess;
}

// ---- Launches

API int cuLaunchKernel(void* handle, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x,
                       unsigned block_y, unsigned block_z, unsigned shared_bytes, void* stream_handle,
                       void** arguments, void** extra) {
    const Function* const function = static_cast<const Function*>(handle);
    Device* device;
    {
        const std::lock_guard<std::recursive_mutex> lock(tables);
        if (!current_context) return refuse(NO_CONTEXT, "a kernel is launched without a context");
        if (!functions.count(static_cast<Function*>(handle)) || !modules.count(function->module))
            return refuse(cudaErrorInvalidResourceHandle, "a kernel is launched whose module is gone");
        if (function->module->context != current_context)
            return refuse(cudaErrorInvalidResourceHandle, "a kernel is launched in another context than its module's");
        device = current_context->device;
    }
    Stream* const stream = find_stream(stream_handle, device);
    if (!stream || stream->device != device)
        return refuse(cudaErrorInvalidResourceHandle, "a kernel is launched into a stream of another device");
    if (device->fault) return device->fault;
    const ptx::Kernel& kernel = *function->kernel;
    const u64 threads = u64(block_x) * block_y * block_z;
    if (extra || !grid_x || !grid_y || !grid_z || grid_x > 2147483647u || grid_y > 65535 || grid_z > 65535 || !threads ||
        threads > 1024 || block_z > 64 || (kernel.max_threads && threads > kernel.max_threads) ||
        shared_bytes > function->max_dynamic_shared)
        return cudaErrorInvalidValue;
    const u64 warps = (threads + 31) / 32;
    const u64 of_a_warp = (u64(function->registers) * 32 + REGISTER_UNIT - 1) / REGISTER_UNIT * REGISTER_UNIT;
    if (warps * of_a_warp > REGISTER_FILE) return refuse(cudaErrorLaunchOutOfResources, kernel.name + " needs too many registers");
    vector<u8> parameters(kernel.parameter_bytes + 8);
    for (size_t i = 0; i < kernel.parameter_sizes.size(); i++)
        memcpy(&parameters[kernel.parameter_offsets[i]], arguments[i], kernel.parameter_sizes[i]);
    const u64 number = ++totals.launches;
    put(stream, [=, grid = std::array<u32, 3>{grid_x, grid_y, grid_z},
                 block = std::array<u32, 3>{block_x, block_y, block_z}] {
        if (number == settings().failing_launch) return int(cudaErrorIllegalAddress);
        return run(function, device, grid, block, shared_bytes, parameters);
    });
    return cudaSuccess;
}
