#include "gpus.h"

#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>

namespace emulated {

namespace {

constexpr u64 FIRST_ADDRESS = 0x200000000000, LAST_ADDRESS = 0x300000000000;
constexpr u64 ALIGNMENT = 512, GAP = 4096;  // between allocations, so that an access beyond one is in none

u64 read_number(const char* name, u64 otherwise) {
    const char* text = getenv(name);
    return text && *text ? strtoull(text, nullptr, 0) : otherwise;
}

string read_text(const char* name) {
    const char* text = getenv(name);
    return text ? text : "";
}

std::set<Stream*> streams;
std::set<Event*> events;
std::map<u64, u64> pinned;  // sizes by address
u64 pinned_now = 0, pinned_peak = 0, next_address = FIRST_ADDRESS;

}  // namespace

std::recursive_mutex tables;
Totals totals;
thread_local int current_device = 0;
thread_local Context* current_context = nullptr;

const Settings& settings() {
    static const Settings found{
        u32(read_number("EMULATED_GPUS", 1)), u32(read_number("EMULATED_CAPABILITY", 90)),
        u32(read_number("EMULATED_MULTIPROCESSORS", 8)), read_number("EMULATED_MEMORY", u64(1) << 32),
        read_number("EMULATED_PINNED", u64(1) << 40), read_number("EMULATED_BUSY", 0),
        read_number("EMULATED_FAILING_LAUNCH", 0), read_number("EMULATED_SEED", 0), read_number("EMULATED_LATE", 1) != 0,
        read_number("EMULATED_RACES", 1) != 0, read_text("EMULATED_PTX"), read_text("EMULATED_LOG")};
    return found;
}

cudaDeviceProp properties() {
    const u32 capability = settings().capability;
    const bool is_large = capability == 80 || capability / 10 >= 9, is_largest = capability / 10 == 9 || capability / 10 == 10;
    cudaDeviceProp found;
    memset(&found, 0, sizeof found);
    snprintf(found.name, sizeof found.name, "emulated GPU");
    found.totalGlobalMem = settings().memory_bytes;
    found.major = int(capability / 10);
    found.minor = int(capability % 10);
    found.multiProcessorCount = int(settings().multiprocessors);
    found.maxThreadsPerMultiProcessor = capability == 75 ? 1024 : is_large && capability < 120 ? 2048 : 1536;
    found.sharedMemPerBlock = 48 << 10;
    found.sharedMemPerBlockOptin = (capability == 75 ? 64 : capability == 80 ? 163 : is_largest ? 227 : 99) << 10;
    found.regsPerBlock = found.regsPerMultiprocessor = 65536;
    found.warpSize = 32;
    found.maxThreadsPerBlock = found.maxThreadsDim[0] = found.maxThreadsDim[1] = 1024;
    found.maxThreadsDim[2] = 64;
    found.maxGridSize[0] = 2147483647;
    found.maxGridSize[1] = found.maxGridSize[2] = 65535;
    found.totalConstMem = 65536;
    found.unifiedAddressing = found.concurrentKernels = 1;
    found.asyncEngineCount = 2;
    return found;
}

void append_to_log(const string& line) {
    static std::mutex writing;
    const std::lock_guard<std::mutex> lock(writing);
    if (settings().log.empty()) fprintf(stderr, "[emulated GPU] %s\n", line.c_str());
    else std::ofstream(settings().log, std::ios::app) << line << std::endl;
}

void report(const string& finding) { append_to_log("FINDING " + finding); }

// ---- Devices

const vector<std::unique_ptr<Device>>& devices() {
    static vector<std::unique_ptr<Device>> all;
    const std::lock_guard<std::recursive_mutex> lock(tables);
    while (all.size() < settings().devices) {
        all.emplace_back(new Device());
        all.back()->number = int(all.size()) - 1;
    }
    return all;
}

Device* enter_device() {
    if (current_device >= int(devices().size())) return nullptr;
    Device* const device = devices()[current_device].get();
    device->has_context = true;
    current_context = &device->context;
    return device;
}

int set_device(int number) {
    if (number < 0 || number >= int(devices().size())) return cudaErrorInvalidDevice;
    if (settings().busy_devices >> number & 1) return cudaErrorDevicesUnavailable;
    current_device = number;
    enter_device();
    return cudaSuccess;
}

// ---- Memory

int allocate(Device* device, u64 size, u64& address) {
    const std::lock_guard<std::recursive_mutex> lock(tables);
    if (device->fault) return device->fault;
    if (device->used_bytes + size > settings().memory_bytes) return cudaErrorMemoryAllocation;
    device->used_bytes += size;
    device->peak_bytes = std::max(device->peak_bytes, device->used_bytes);
    address = next_address;
    next_address += (size + GAP + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    device->memory[address].reset(new Allocation{device, vector<u8>(size, 0xff), vector<u8>(size, 0)});
    return cudaSuccess;
}

bool release(u64 address) {
    const std::lock_guard<std::recursive_mutex> lock(tables);
    for (const auto& device : devices()) {
        const auto found = device->memory.find(address);
        if (found == device->memory.end()) continue;
        device->used_bytes -= found->second->bytes.size();
        device->memory.erase(found);
        return true;
    }
    return false;
}

Allocation* find_allocation(u64 address, u64 size, u64& offset) {
    const std::lock_guard<std::recursive_mutex> lock(tables);
    for (const auto& device : devices()) {
        auto next = device->memory.upper_bound(address);
        if (next == device->memory.begin()) continue;
        --next;
        const u64 length = next->second->bytes.size();
        if (address >= next->first + length) continue;
        offset = address - next->first;
        return offset + size <= length ? next->second.get() : nullptr;
    }
    return nullptr;
}

bool is_device_address(u64 address) { return address >= FIRST_ADDRESS && address < LAST_ADDRESS; }

int pin(u64 size, void** address) {
    const std::lock_guard<std::recursive_mutex> lock(tables);
    if (pinned_now + size > settings().pinned_bytes) return cudaErrorMemoryAllocation;
    *address = aligned_alloc(4096, (size + 4095) / 4096 * 4096);
    if (!*address) return cudaErrorMemoryAllocation;
    memset(*address, 0xff, size);
    pinned[reinterpret_cast<u64>(*address)] = size;
    pinned_now += size;
    pinned_peak = std::max(pinned_peak, pinned_now);
    return cudaSuccess;
}

bool unpin(void* address) {
    const std::lock_guard<std::recursive_mutex> lock(tables);
    const auto found = pinned.find(reinterpret_cast<u64>(address));
    if (found == pinned.end()) return false;
    pinned_now -= found->second;
    pinned.erase(found);
    free(address);
    return true;
}

bool is_pinned(const void* address, u64 size) {
    const std::lock_guard<std::recursive_mutex> lock(tables);
    const u64 first = reinterpret_cast<u64>(address);
    auto next = pinned.upper_bound(first);
    if (next == pinned.begin()) return false;
    --next;
    return first + size <= next->first + next->second;
}

// ---- Streams and events. Objects stay when they are destroyed, since pending work may refer to them.

Stream* new_stream(Device* device, bool is_blocking) {
    const std::lock_guard<std::recursive_mutex> lock(tables);
    return *streams.insert(new Stream{device, false, is_blocking, {}, {}}).first;
}

Stream* find_stream(void* handle, Device* device) {
    if (!handle || handle == reinterpret_cast<void*>(1)) return &device->null_stream;
    const std::lock_guard<std::recursive_mutex> lock(tables);
    Stream* const stream = static_cast<Stream*>(handle);
    return streams.count(stream) ? stream : nullptr;
}

bool delete_stream(Stream* stream) {
    if (!stream || stream->is_null) return false;
    drain(stream);
    const std::lock_guard<std::recursive_mutex> lock(tables);
    return streams.erase(stream);
}

vector<Stream*> streams_of(Device* device) {
    const std::lock_guard<std::recursive_mutex> lock(tables);
    vector<Stream*> found{&device->null_stream};
    for (Stream* stream : streams)
        if (stream->device == device) found.push_back(stream);
    return found;
}

void put(Stream* stream, std::function<int()> work) {
    {
        const std::lock_guard<std::recursive_mutex> lock(tables);
        stream->work.push_back(std::move(work));
    }
    if (stream->is_blocking || !settings().is_late) drain(stream);
}

int drain(Stream* stream, size_t most) {
    const std::lock_guard<std::mutex> in_order(stream->running);
    Device* const device = stream->device;
    while (most--) {
        std::function<int()> work;
        {
            const std::lock_guard<std::recursive_mutex> lock(tables);
            if (stream->work.empty()) break;
            work = std::move(stream->work.front());
            stream->work.pop_front();
        }
        if (device->fault) continue;  // nothing runs after a fault
        if (const int status = work()) device->fault = status;
    }
    return device->fault;
}

Event* new_event(Device* device, bool has_time) {
    const std::lock_guard<std::recursive_mutex> lock(tables);
    Event* const event = new Event();
    event->device = device;
    event->has_time = has_time;
    return *events.insert(event).first;
}

Event* find_event(void* handle) {
    const std::lock_guard<std::recursive_mutex> lock(tables);
    Event* const event = static_cast<Event*>(handle);
    return events.count(event) ? event : nullptr;
}

bool delete_event(void* handle) {
    const std::lock_guard<std::recursive_mutex> lock(tables);
    return events.erase(static_cast<Event*>(handle));
}

void wait_for(Event* event) {
    while (event->stream && event->pending && !event->device->fault) drain(event->stream, 1);
}

string describe_use() {
    const std::lock_guard<std::recursive_mutex> lock(tables);
    string contexts, peaks;
    for (const auto& device : devices()) {
        if (device->has_context) contexts += (contexts.empty() ? "" : ", ") + std::to_string(device->number);
        peaks += (peaks.empty() ? "" : ", ") + std::to_string(device->peak_bytes);
    }
    return "{\"launches\": " + std::to_string(totals.launches) + ", \"instructions\": " +
           std::to_string(totals.instructions) + ", \"lanes\": " + std::to_string(totals.lanes) +
           ", \"modules_loaded\": " + std::to_string(totals.modules_loaded) + ", \"modules_unloaded\": " +
           std::to_string(totals.modules_unloaded) + ", \"to_device_bytes\": " + std::to_string(totals.to_device_bytes) +
           ", \"to_host_bytes\": " + std::to_string(totals.to_host_bytes) + ", \"pinned_peak\": " + std::to_string(pinned_peak) +
           ", \"memory_peaks\": [" + peaks + "], \"contexts\": [" + contexts + "]}";
}

}  // namespace emulated
