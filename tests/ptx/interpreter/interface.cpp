// The functions that tests/support/cuda_host/interpreter.py calls.
#include "machine.h"
#include <cstdio>

namespace {

using namespace ptx;

struct GivenRange { u64 address, bytes; u8* written; };

void write_text(char* to, u32 room, const string& text) { snprintf(to, room, "%s", text.c_str()); }

const Kernel* find_kernel(const void* module, const char* name) {
    const auto& kernels = static_cast<const Module*>(module)->kernels;
    const auto found = kernels.find(name);
    return found == kernels.end() ? nullptr : found->second.get();
}

}  // namespace

extern "C" {

void* ptx_load(const char* text, char* error, u32 room) {
    try {
        return parse(text).release();
    } catch (const Error& caught) {
        write_text(error, room, caught.message);
        return nullptr;
    }
}

void ptx_unload(void* module) { delete static_cast<Module*>(module); }

// Number of parameters, or -1 if there is no such kernel. `facts`: static shared memory, bytes of all parameters.
int ptx_describe(const void* module, const char* name, u32* sizes, u32* offsets, u32 room, u32* facts) {
    const Kernel* const kernel = find_kernel(module, name);
    if (!kernel) return -1;
    const u32 count = u32(kernel->parameter_sizes.size());
    for (u32 i = 0; i < count && i < room; i++) {
        sizes[i] = kernel->parameter_sizes[i];
        offsets[i] = kernel->parameter_offsets[i];
    }
    facts[0] = kernel->shared_bytes;
    facts[1] = kernel->parameter_bytes;
    return int(count);
}

// Returns whether all is well; otherwise `error` has the findings.
bool ptx_launch(const void* module, const char* name, const u32* grid, const u32* block_size, u32 dynamic_bytes,
                const u8* parameters, const GivenRange* ranges, u32 range_count, const Options* options, Counts* counts,
                char* error, u32 room) {
    const Kernel* const kernel = find_kernel(module, name);
    const u32 threads = block_size[0] * block_size[1] * block_size[2];
    Launch launch{kernel, grid, block_size, threads, dynamic_bytes, parameters, *options, counts};
    for (u32 i = 0; i < range_count; i++) {
        const GivenRange& range = ranges[i];
        launch.ranges.push_back(
            Range{range.address, range.address + range.bytes, reinterpret_cast<u8*>(range.address), range.written, {}});
    }
    const string findings = run_grid(launch);
    write_text(error, room, findings);
    return findings.empty();
}

}
