// The emulated GPUs: devices with their memory, streams, events and modules.
//
// They are as difficult as real ones may be: device memory has addresses that the host cannot read, everything given to a
// stream is done as late as possible, the driver wants a context in every thread, whatever is asked of the wrong device is
// an error, and a fault of a kernel stays until the process ends.
#pragma once
#include <cuda_runtime_api.h>

#include <atomic>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include "program.h"

#define API extern "C" __attribute__((visibility("default")))

namespace emulated {

using ptx::string;
using ptx::vector;
using ptx::u8;
using ptx::u16;
using ptx::u32;
using ptx::u64;

// From the environment, see run.py.
struct Settings {
    u32 devices, capability, multiprocessors;
    u64 memory_bytes, pinned_bytes, busy_devices, failing_launch, seed;
    bool is_late, finds_races;
    string ptx_folder, log;
};
const Settings& settings();
cudaDeviceProp properties();  // of every device

// Appends a line to the log: a misuse that a driver would not notice, or would answer with undefined behaviour.
void report(const string& finding);
void append_to_log(const string& line);

struct Device;
struct Context { Device* device; };

struct Allocation {
    Device* device;
    vector<u8> bytes, written;  // written: whether anything was stored, by byte
};

struct Stream {
    Device* device;
    bool is_null, is_blocking;  // blocking: waits for the null stream, and is not deferred here
    std::deque<std::function<int()>> work;
    std::mutex running;
};

struct Event {
    Device* device;
    bool has_time;
    Stream* stream = nullptr;
    std::atomic<int> pending{0};
    std::atomic<double> milliseconds{0};
};

struct Device {
    int number;
    Context context{this};
    bool has_context = false;
    std::atomic<int> fault{0};
    u64 used_bytes = 0, peak_bytes = 0;
    Stream null_stream{this, true, true, {}, {}};
    std::map<u64, std::unique_ptr<Allocation>> memory;  // by address
};

// What the process counts.
struct Totals { std::atomic<u64> launches, instructions, lanes, modules_loaded, modules_unloaded, to_device_bytes, to_host_bytes; };
extern Totals totals;

extern std::recursive_mutex tables;  // guards everything that is not a stream's own
const vector<std::unique_ptr<Device>>& devices();

extern thread_local int current_device;
extern thread_local Context* current_context;
// Device of a call of the runtime, which makes the primary context and the thread's; null if there is no device.
Device* enter_device();
int set_device(int number);  // returns a status

int allocate(Device* device, u64 size, u64& address);
bool release(u64 address);
Allocation* find_allocation(u64 address, u64 size, u64& offset);  // null unless all bytes are in one
bool is_device_address(u64 address);
int pin(u64 size, void** address);
bool unpin(void* address);
bool is_pinned(const void* address, u64 size);

Stream* new_stream(Device* device, bool is_blocking);
Stream* find_stream(void* handle, Device* device);  // handles 0 and 1 are the null stream
bool delete_stream(Stream* stream);
vector<Stream*> streams_of(Device* device);
// Gives work to a stream; it is done at once unless the stream is deferred.
void put(Stream* stream, std::function<int()> work);
// Does at most `most` pieces of a stream's work. Returns the device's fault.
int drain(Stream* stream, size_t most = ~size_t(0));

Event* new_event(Device* device, bool has_time);
Event* find_event(void* handle);
bool delete_event(void* handle);
void wait_for(Event* event);

// Summary of the process as JSON.
string describe_use();

}  // namespace emulated
