// CUDA C on the host. A block's threads run one after the other; a thread that must wait for others keeps its stack (a
// fiber) and the next thread goes on. So a kernel without barriers is a plain loop. Blocks run one after the other.
// Mistakes that break on real hardware are errors: an access outside the arrays of a launch, a barrier that some threads
// never reach, a lane that reads from an inactive one, a block larger than its launch bounds. Races, unwritten memory and
// alignment are found in tests/ptx only.
// Only small headers are included: every kernel file is compiled after this one.
#pragma once
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#if !defined(__x86_64__) || defined(_WIN32)
#include <ucontext.h>
#endif
extern "C" {
void* aligned_alloc(size_t, size_t);
#define SHIM_MATH(NAME) float NAME##f(float); double NAME(double);
SHIM_MATH(sqrt) SHIM_MATH(fabs) SHIM_MATH(floor) SHIM_MATH(ceil) SHIM_MATH(rint) SHIM_MATH(trunc) SHIM_MATH(exp)
SHIM_MATH(log) SHIM_MATH(sin) SHIM_MATH(cos) SHIM_MATH(acos) SHIM_MATH(nearbyint)
#define SHIM_MATH2(NAME) float NAME##f(float, float); double NAME(double, double);
SHIM_MATH2(fmin) SHIM_MATH2(fmax) SHIM_MATH2(pow) SHIM_MATH2(atan2) SHIM_MATH2(fmod) SHIM_MATH2(copysign)
}
#define isnan(v) __builtin_isnan(v)
#define isinf(v) __builtin_isinf(v)
#define isfinite(v) __builtin_isfinite(v)
static inline int abs(int v) { return v < 0 ? -v : v; }
static inline long long llabs(long long v) { return v < 0 ? -v : v; }

struct uint3 { unsigned x, y, z; };
struct dim3 { unsigned x, y, z; constexpr dim3(unsigned a = 1, unsigned b = 1, unsigned c = 1) : x(a), y(b), z(c) {} };

#define SHIM_VECTORS(T, N, A2, A4)                                                                             \
    struct A2 N##2 { T x, y; };                                                                                \
    struct N##3 { T x, y, z; };                                                                                \
    struct A4 N##4 { T x, y, z, w; };                                                                          \
    static inline N##2 make_##N##2(T x, T y) { return N##2{x, y}; }                                            \
    static inline N##3 make_##N##3(T x, T y, T z) { return N##3{x, y, z}; }                                    \
    static inline N##4 make_##N##4(T x, T y, T z, T w) { return N##4{x, y, z, w}; }
SHIM_VECTORS(signed char, char, alignas(2), alignas(4))
SHIM_VECTORS(unsigned char, uchar, alignas(2), alignas(4))
SHIM_VECTORS(short, short, alignas(4), alignas(8))
SHIM_VECTORS(unsigned short, ushort, alignas(4), alignas(8))
SHIM_VECTORS(int, int, alignas(8), alignas(16))
SHIM_VECTORS(float, float, alignas(8), alignas(16))
SHIM_VECTORS(long long, longlong, alignas(16), alignas(16))
SHIM_VECTORS(unsigned long long, ulonglong, alignas(16), alignas(16))
SHIM_VECTORS(double, double, alignas(16), alignas(16))
struct alignas(8) uint2 { unsigned x, y; };
struct alignas(16) uint4 { unsigned x, y, z, w; };
static inline uint2 make_uint2(unsigned x, unsigned y) { return uint2{x, y}; }
static inline uint3 make_uint3(unsigned x, unsigned y, unsigned z) { return uint3{x, y, z}; }
static inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return uint4{x, y, z, w}; }

static uint3 threadIdx, blockIdx;
static dim3 blockDim, gridDim;
static constexpr int warpSize = 32;

#define __device__
#define __host__
#define __constant__
#define __shared__ static
#define __forceinline__ inline
#define __noinline__ __attribute__((noinline))
#define __align__(n) alignas(n)
#define __restrict__ __restrict
// __global__ and __launch_bounds__ are defined on the command line, so that the builder sees them after preprocessing.

namespace shim {

enum Wait { RUNNING, AT_BLOCK, AT_WARP };
enum Exchange { SHUFFLE, VOTE };

struct Thread {
    uint3 place;
    unsigned number;
    Wait wait;
    bool left;
    unsigned mask;
    Exchange kind;
    unsigned long long value, result;
    int source;
};

struct Fiber;
static constexpr unsigned MAX_THREADS = 1024;
static Thread threads[MAX_THREADS];
static Fiber* spare[MAX_THREADS + 1];
static Fiber* waiting_fibers[MAX_THREADS];  // by thread number
static unsigned ready[MAX_THREADS];         // a ring buffer: no thread is in it twice
static unsigned count, spares, first_ready, readies;
static unsigned started, alive;
static Thread* me;
static Fiber* running;
typedef void (*Body)(void**);
static Body body;
static void** arguments_of_body;
static char fault[512];
static bool failed;
static unsigned char* dynamic_shared;
static bool is_checking;  // a kernel is running, and its accesses are checked

static constexpr size_t STACK = 128 << 10;

struct Range { unsigned long long low, high; };
static const Range* arrays;
static unsigned array_count;
static bool checks_accesses;

#if defined(__x86_64__) && !defined(_WIN32)
// Saves the registers that a function call must preserve and resumes on the other stack.
__attribute__((naked, noinline)) static void switch_stack(void** /* saved */, void* /* other */) {
    __asm__ volatile(
        "pushq %rbp\n pushq %rbx\n pushq %r12\n pushq %r13\n pushq %r14\n pushq %r15\n"
        "movq %rsp, (%rdi)\n movq %rsi, %rsp\n"
        "popq %r15\n popq %r14\n popq %r13\n popq %r12\n popq %rbx\n popq %rbp\n ret\n");
}
struct Fiber { void* stack_pointer; char* stack; };
static void* scheduler_stack;
static void fiber_main();
static Fiber* new_fiber() {
    Fiber* fiber = new Fiber;
    fiber->stack = static_cast<char*>(aligned_alloc(4096, STACK));
    void** top = reinterpret_cast<void**>(fiber->stack + STACK);
    *--top = nullptr;
    *--top = reinterpret_cast<void*>(&fiber_main);
    for (int i = 0; i < 6; i++) *--top = nullptr;
    fiber->stack_pointer = top;
    return fiber;
}
static inline void enter(Fiber* fiber) { switch_stack(&scheduler_stack, fiber->stack_pointer); }
static inline void leave() { Fiber* fiber = running; switch_stack(&fiber->stack_pointer, scheduler_stack); }
#else
struct Fiber { ucontext_t context; char* stack; };
static ucontext_t scheduler_context;
static void fiber_main();
static Fiber* new_fiber() {
    Fiber* fiber = new Fiber;
    fiber->stack = static_cast<char*>(aligned_alloc(4096, STACK));
    getcontext(&fiber->context);
    fiber->context.uc_stack.ss_sp = fiber->stack;
    fiber->context.uc_stack.ss_size = STACK;
    fiber->context.uc_link = nullptr;
    makecontext(&fiber->context, fiber_main, 0);
    return fiber;
}
static inline void enter(Fiber* fiber) { swapcontext(&scheduler_context, &fiber->context); }
static inline void leave() { Fiber* fiber = running; swapcontext(&fiber->context, &scheduler_context); }
#endif

// With -fsanitize=kernel-address the compiler calls __asan_load4_noabort and the like before every access (build.py).
#define SHIM_UNCHECKED __attribute__((no_sanitize_address))
#ifdef SHIM_CHECKS
extern "C" __attribute__((visibility("hidden"))) const char __ehdr_start, _end;  // this library in memory
static void fail(const char* format, ...);

// A thread that leaves the arrays ends there; its fiber is abandoned.
SHIM_UNCHECKED static __attribute__((noinline)) void stop_access(unsigned long long at, size_t size, const char* what) {
    is_checking = false;
    for (unsigned i = 0; i < array_count; i++)
        if (at + 4096 >= arrays[i].low && at < arrays[i].high + 4096)
            fail("%s %zu bytes at %lld of an array of %llu bytes", what, size, (long long)(at - arrays[i].low),
                 arrays[i].high - arrays[i].low);
    fail("%s %zu bytes outside of all arrays", what, size);
    leave();
}
SHIM_UNCHECKED static inline void check_access(unsigned long long at, size_t size, const char* what) {
    if (!is_checking) return;
    for (unsigned i = 0; i < array_count; i++)
        if (at >= arrays[i].low && at + size <= arrays[i].high) return;
    const unsigned long long stack = (unsigned long long)running->stack;
    if (at >= stack && at + size <= stack + STACK) return;
    if (at >= (unsigned long long)&__ehdr_start && at + size <= (unsigned long long)&_end) return;
    stop_access(at, size, what);
}
extern "C" {
#define SHIM_CHECK(NAME, SIZE)                                                                                          \
    SHIM_UNCHECKED void __asan_load##NAME##_noabort(unsigned long long at) { check_access(at, SIZE, "reads"); }  \
    SHIM_UNCHECKED void __asan_store##NAME##_noabort(unsigned long long at) { check_access(at, SIZE, "writes"); }
SHIM_CHECK(1, 1) SHIM_CHECK(2, 2) SHIM_CHECK(4, 4) SHIM_CHECK(8, 8) SHIM_CHECK(16, 16)
SHIM_UNCHECKED void __asan_loadN_noabort(unsigned long long at, size_t size) { check_access(at, size, "reads"); }
SHIM_UNCHECKED void __asan_storeN_noabort(unsigned long long at, size_t size) { check_access(at, size, "writes"); }
void __asan_handle_no_return() {}
}
#endif

struct All {
    Thread* begin() const { return threads; }
    Thread* end() const { return threads + count; }
};
static All all() { return All(); }

static void fail(const char* format, ...) {
    if (!failed) {
        va_list arguments;
        va_start(arguments, format);
        vsnprintf(fault, sizeof fault, format, arguments);
        va_end(arguments);
    }
    failed = true;
}

static inline void become(Thread* thread) { me = thread; threadIdx = thread->place; }

// A fiber runs threads that were not started yet until one has to wait, and then becomes that thread's stack.
static void fiber_main() {
    for (;;) {
        while (started < count && !failed) {
            become(&threads[started++]);
            is_checking = checks_accesses;
            body(arguments_of_body);
            is_checking = false;
            me->left = true;
            alive--;
        }
        spare[spares++] = running;
        leave();
    }
}

static void wait(Wait what) {
    Thread* thread = me;
    thread->wait = what;
    waiting_fibers[thread->number] = running;
    is_checking = false;
    leave();
    become(thread);
    is_checking = checks_accesses;
}

static void release(Thread& thread) { thread.wait = RUNNING; ready[(first_ready + readies++) % MAX_THREADS] = thread.number; }

static unsigned lanes_alive(unsigned warp) {
    unsigned found = 0;
    for (unsigned i = 0; i < 32 && warp * 32 + i < count; i++) found |= unsigned(!threads[warp * 32 + i].left) << i;
    return found;
}

// Ends the exchange of the lanes that wait with this mask, if all of them are there.
static bool end_exchange(unsigned warp, unsigned mask) {
    unsigned taking = mask & lanes_alive(warp);
    Thread* lanes = &threads[warp * 32];
    for (unsigned i = 0; i < 32; i++)
        if (taking >> i & 1 && (lanes[i].wait != AT_WARP || lanes[i].mask != mask)) return false;
    unsigned votes = 0;
    for (unsigned i = 0; i < 32; i++)
        if (taking >> i & 1 && lanes[i].value) votes |= 1u << i;
    for (unsigned i = 0; i < 32; i++) {
        if (!(taking >> i & 1)) continue;
        Thread& lane = lanes[i];
        if (lane.kind == VOTE) lane.result = votes;
        if (lane.kind == SHUFFLE) {
            if (!(taking >> lane.source & 1)) {
                fail("lane %u of warp %u reads from lane %d, which takes no part", i, warp, lane.source);
                return false;
            }
            lane.result = lanes[lane.source].value;
        }
    }
    for (unsigned i = 0; i < 32; i++)
        if (taking >> i & 1 && &lanes[i] != me) release(lanes[i]);
    return true;
}

static unsigned long long exchange(unsigned mask, Exchange kind, unsigned long long value, int source) {
    unsigned warp = me->number / 32, lane = me->number % 32;
    if (!(mask >> lane & 1)) fail("lane %u of warp %u is not in its own mask %08x", lane, warp, mask);
    me->mask = mask; me->kind = kind; me->value = value; me->source = source; me->wait = AT_WARP;
    if (!failed && end_exchange(warp, mask)) me->wait = RUNNING;
    else wait(AT_WARP);
    return me->result;
}

static bool wake_somebody() {
    unsigned at_block = 0;
    for (Thread& thread : all()) at_block += !thread.left && thread.wait == AT_BLOCK;
    if (at_block == alive) {
        for (Thread& thread : all()) if (!thread.left) release(thread);
        return true;
    }
    me = nullptr;
    for (Thread& thread : all())  // lanes whose partners have left
        if (!thread.left && thread.wait == AT_WARP && end_exchange(thread.number / 32, thread.mask)) return true;
    return false;
}

static void run_block() {
    started = 0;
    alive = count;
    first_ready = readies = 0;
    for (Thread& thread : all()) { thread.left = false; thread.wait = RUNNING; }
    while (!failed && (started < count || alive)) {
        if (started < count) {
            running = spares ? spare[--spares] : new_fiber();
        } else if (readies) {
            running = waiting_fibers[ready[first_ready]];
            first_ready = (first_ready + 1) % MAX_THREADS;
            readies--;
        } else {
            if (!wake_somebody()) {
                unsigned at_block = 0;
                for (Thread& thread : all()) at_block += !thread.left && thread.wait == AT_BLOCK;
                fail("block (%u, %u, %u) waits for ever: of %u threads %u have left, %u wait for the block, %u for "
                     "their warp", blockIdx.x, blockIdx.y, blockIdx.z, count,
                     count - alive, at_block, alive - at_block);
                return;
            }
            continue;
        }
        enter(running);
    }
}

// ``arrays``: those that the kernel may access; a launch without them is not checked.
struct Launch { unsigned grid[3], block[3]; unsigned long long shared_bytes; unsigned array_count; const Range* arrays; };

static unsigned char shared_memory[(256 << 10) + 64] __attribute__((aligned(256)));

static const char* run(const Launch& launch, unsigned bound, Body kernel, void** arguments) {
    count = launch.block[0] * launch.block[1] * launch.block[2];
    failed = false;
    if (bound && count > bound) {
        fail("a block of %u threads is larger than the kernel's launch bounds of %u", count, bound);
        return fault;
    }
    gridDim = dim3(launch.grid[0], launch.grid[1], launch.grid[2]);
    blockDim = dim3(launch.block[0], launch.block[1], launch.block[2]);
    body = kernel;
    arguments_of_body = arguments;
    for (unsigned i = 0; i < count; i++) {
        threads[i] = Thread();
        threads[i].number = i;
        threads[i].place = uint3{i % blockDim.x, i / blockDim.x % blockDim.y, i / (blockDim.x * blockDim.y)};
    }
    dynamic_shared = shared_memory;
    checks_accesses = launch.array_count > 0;
    array_count = launch.array_count;
    arrays = launch.arrays;
    for (unsigned z = 0; z < gridDim.z && !failed; z++)
        for (unsigned y = 0; y < gridDim.y && !failed; y++)
            for (unsigned x = 0; x < gridDim.x && !failed; x++) {
                blockIdx = uint3{x, y, z};
                memset(dynamic_shared, 0xff, launch.shared_bytes + 64);  // NaN: uninitialised
                run_block();
                for (int i = 0; i < 64 && !failed; i++)
                    if (dynamic_shared[launch.shared_bytes + i] != 0xff) fail("a block writes behind its shared memory");
            }
    if (failed) spares = 0;  // fibers in the middle of a kernel are abandoned, with their stacks
    return failed ? fault : nullptr;
}

template <class T> static inline unsigned long long bits(T value) {
    static_assert(sizeof(T) <= 8, "at most 8 bytes travel between lanes");
    unsigned long long b = 0;
    memcpy(&b, &value, sizeof(T));
    return b;
}
template <class T> static inline T from_bits(unsigned long long b) { T v; memcpy(&v, &b, sizeof(T)); return v; }
template <class T> static inline T shuffle(unsigned mask, T value, int source) {
    return from_bits<T>(exchange(mask, SHUFFLE, bits(value), source));
}
static inline int lane() { return int(me->number % 32); }

}  // namespace shim

static inline void __syncthreads() { shim::wait(shim::AT_BLOCK); }
static inline void __syncwarp(unsigned mask = 0xffffffffu) { shim::exchange(mask, shim::VOTE, 0, 0); }
static inline unsigned __ballot_sync(unsigned mask, int predicate) {
    return unsigned(shim::exchange(mask, shim::VOTE, predicate != 0, 0));
}
// width is a power of two up to 32 that cuts a warp into parts; a source beyond its part is the lane itself.
template <class T> static inline T __shfl_sync(unsigned mask, T value, int source, int width = 32) {
    return shim::shuffle(mask, value, (shim::lane() & ~(width - 1)) | (source & (width - 1)));
}
template <class T> static inline T __shfl_xor_sync(unsigned mask, T value, int lanes, int width = 32) {
    int own = shim::lane(), other = own ^ lanes;
    return shim::shuffle(mask, value, (other & ~(width - 1)) > (own & ~(width - 1)) ? own : other);
}
template <class T> static inline T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = 32) {
    int own = shim::lane(), inside = own & (width - 1);
    return shim::shuffle(mask, value, inside < int(delta) ? own : own - int(delta));
}

static inline int __popc(unsigned v) { return __builtin_popcount(v); }
static inline int __popcll(unsigned long long v) { return __builtin_popcountll(v); }
static inline int __ffs(int v) { return __builtin_ffs(v); }
static inline int __ffsll(long long v) { return __builtin_ffsll(v); }
static inline int __clz(int v) { return v ? __builtin_clz(unsigned(v)) : 32; }
static inline int __clzll(long long v) { return v ? __builtin_clzll((unsigned long long)v) : 64; }
static inline unsigned __brev(unsigned v) {
    unsigned r = 0;
    for (int i = 0; i < 32; i++) r |= (v >> i & 1u) << (31 - i);
    return r;
}
static inline unsigned __umulhi(unsigned a, unsigned b) { return unsigned((unsigned long long)a * b >> 32); }

template <class T> static inline T __ldg(const T* p) { return *p; }
template <class T> static inline T __ldcs(const T* p) { return *p; }
template <class T> static inline T __ldcg(const T* p) { return *p; }
template <class T> static inline void __stcs(T* p, T v) { *p = v; }
template <class T> static inline void __stcg(T* p, T v) { *p = v; }

static inline float __fmaf_rn(float a, float b, float c) { return __builtin_fmaf(a, b, c); }
static inline double __fma_rn(double a, double b, double c) { return __builtin_fma(a, b, c); }
static inline float __fadd_rn(float a, float b) { return a + b; }
static inline float __fsub_rn(float a, float b) { return a - b; }
static inline float __fmul_rn(float a, float b) { return a * b; }
static inline float __fdiv_rn(float a, float b) { return a / b; }
static inline float __fsqrt_rn(float a) { return __builtin_sqrtf(a); }
static inline double __dadd_rn(double a, double b) { return a + b; }
static inline double __dsub_rn(double a, double b) { return a - b; }
static inline double __dmul_rn(double a, double b) { return a * b; }
static inline double __ddiv_rn(double a, double b) { return a / b; }
static inline double __dsqrt_rn(double a) { return __builtin_sqrt(a); }

static inline int __float_as_int(float v) { return shim::from_bits<int>(shim::bits(v)); }
static inline unsigned __float_as_uint(float v) { return shim::from_bits<unsigned>(shim::bits(v)); }
static inline float __int_as_float(int v) { return shim::from_bits<float>(shim::bits(v)); }
static inline float __uint_as_float(unsigned v) { return shim::from_bits<float>(shim::bits(v)); }
static inline long long __double_as_longlong(double v) { return shim::from_bits<long long>(shim::bits(v)); }
static inline double __longlong_as_double(long long v) { return shim::from_bits<double>(shim::bits(v)); }
static inline float __int2float_rn(int v) { return float(v); }
static inline float __uint2float_rn(unsigned v) { return float(v); }
static inline float __ll2float_rn(long long v) { return float(v); }
static inline float __ull2float_rn(unsigned long long v) { return float(v); }
static inline float __double2float_rn(double v) { return float(v); }
static inline int __float2int_rn(float v) { return int(__builtin_nearbyintf(v)); }
static inline int __float2int_rz(float v) { return int(v); }
static inline float saturatef(float v) { return v >= 0 ? (v <= 1 ? v : 1) : 0; }

template <class T> static inline T min(T a, T b) { return b < a ? b : a; }
template <class T> static inline T max(T a, T b) { return a < b ? b : a; }
static inline float min(float a, float b) { return fminf(a, b); }
static inline float max(float a, float b) { return fmaxf(a, b); }
static inline double min(double a, double b) { return fmin(a, b); }
static inline double max(double a, double b) { return fmax(a, b); }

template <class T> struct shim_same { typedef T type; };
#define SHIM_ATOMIC(NAME, NEW)                                                                                 \
    template <class T> static inline T NAME(T* p, typename shim_same<T>::type v) { T old = *p; *p = (NEW); return old; }
SHIM_ATOMIC(atomicAdd, T(old + v))
SHIM_ATOMIC(atomicMin, v < old ? v : old)
SHIM_ATOMIC(atomicOr, T(old | v))
