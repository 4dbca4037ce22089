// Components of equal value in a slab: union-find over voxels, in shared memory for bricks of 256 rows of 32 voxels,
// then across the bricks' faces in global memory. A union keeps the smaller position as root, so a root is the first
// voxel of its component in scan order, whatever the order of the threads.
//
// labels[v] is the position of a voxel nearer to the root of v; for background it is undefined and never read.
// Positions are below 2^31; the bit above marks a root's number instead of its position.
// VALUE is the type of the values.

#ifndef VALUE
#define VALUE unsigned char
#endif

#define ALL_LANES 0xffffffffu
#define NUMBERED 0x80000000u
#define LANES 32u
#define BRICK_ROWS 256u
#define STRETCH 1024u  // voxels per warp of the later kernels

// First lane of the lane's run, from the bits that mark the beginnings of a row's runs.
static __device__ __forceinline__ unsigned run_start(unsigned begins, unsigned lane) {
    return 31u - (unsigned)__clz((int)(begins & (ALL_LANES >> (31u - lane))));
}

// An atomic read, since other threads may be writing; it changes nothing, because no parent comes after its child.
static __device__ __forceinline__ unsigned brick_root(unsigned* parent, unsigned at) {
    unsigned above = atomicMin(&parent[at], at);
    while (above != at) {
        at = above;
        above = atomicMin(&parent[at], at);
    }
    return at;
}

static __device__ void join_in_brick(unsigned* parent, unsigned a, unsigned b) {
    for (;;) {
        a = brick_root(parent, a);
        b = brick_root(parent, b);
        if (a == b) return;
        const unsigned smaller = min(a, b), larger = max(a, b);
        const unsigned before = atomicMin(&parent[larger], smaller);
        if (before == larger) return;
        a = before;  // another thread gave the larger one a parent meanwhile, which must be joined in turn
        b = smaller;
    }
}

// Compresses the path: a voxel that has a parent gets one of that parent's ancestors, which never breaks concurrent
// joins by other threads.
static __device__ __forceinline__ unsigned find_root(volatile unsigned* parent, unsigned at) {
    unsigned above = parent[at];
    for (;;) {
        const unsigned next = parent[above];
        if (next == above) return above;
        parent[at] = next;
        at = above;
        above = next;
    }
}

static __device__ void join(unsigned* parent, unsigned a, unsigned b) {
    for (;;) {
        a = find_root(parent, a);
        b = find_root(parent, b);
        if (a == b) return;
        const unsigned smaller = min(a, b), larger = max(a, b);
        const unsigned before = atomicMin(&parent[larger], smaller);
        if (before == larger) return;
        a = before;
        b = smaller;
    }
}

// Labels voxels inside bricks of 32 x 2^y_bits x (256 / 2^y_bits) voxels, one brick a block.
extern "C" __global__ void __launch_bounds__(512) label_bricks(
    const VALUE* __restrict__ values, unsigned* __restrict__ labels, unsigned width, unsigned height, unsigned depth,
    unsigned y_bits) {
    __shared__ unsigned parent[BRICK_ROWS * LANES];
    __shared__ unsigned begins[BRICK_ROWS];
    const unsigned lane = threadIdx.x % LANES, first_row = threadIdx.x / LANES, warps = blockDim.x / LANES;
    const unsigned brick_y = 1u << y_bits, brick_z = BRICK_ROWS >> y_bits;
    const unsigned bricks_x = (width + LANES - 1) / LANES, bricks_y = (height + brick_y - 1) / brick_y;
    const unsigned x0 = blockIdx.x % bricks_x * LANES;
    const unsigned y0 = blockIdx.x / bricks_x % bricks_y * brick_y;
    const unsigned z0 = blockIdx.x / bricks_x / bricks_y * brick_z;
    const unsigned x = x0 + lane, plane = width * height;

    for (unsigned row = first_row; row < BRICK_ROWS; row += warps) {
        const unsigned y = y0 + (row & (brick_y - 1)), z = z0 + (row >> y_bits);
        const unsigned at = z * plane + y * width + x;
        bool is_first = false;
        if (x < width && y < height && z < depth) {
            const VALUE value = values[at];
            is_first = value != 0 && (lane == 0 || value != values[at - 1]);
        }
        const unsigned found = __ballot_sync(ALL_LANES, is_first);
        if (lane == 0) begins[row] = found;
        parent[row * LANES + lane] = row * LANES + lane;
    }
    __syncthreads();

    // If both runs continue from the lane before, that lane has joined them.
    for (unsigned row = first_row; row < BRICK_ROWS; row += warps) {
        const unsigned y = y0 + (row & (brick_y - 1)), z = z0 + (row >> y_bits);
        if (x >= width || y >= height || z >= depth) continue;
        const unsigned at = z * plane + y * width + x;
        const VALUE value = values[at];
        if (value == 0) continue;
        const unsigned own = begins[row], here = row * LANES + run_start(own, lane);
        if (row & (brick_y - 1)) {
            const unsigned other = begins[row - 1];
            if (((own | other) >> lane & 1u) && values[at - width] == value)
                join_in_brick(parent, here, (row - 1) * LANES + run_start(other, lane));
        }
        if (row >> y_bits) {
            const unsigned other = begins[row - brick_y];
            if (((own | other) >> lane & 1u) && values[at - plane] == value)
                join_in_brick(parent, here, (row - brick_y) * LANES + run_start(other, lane));
        }
    }
    __syncthreads();

    for (unsigned row = first_row; row < BRICK_ROWS; row += warps) {
        const unsigned y = y0 + (row & (brick_y - 1)), z = z0 + (row >> y_bits);
        if (x >= width || y >= height || z >= depth) continue;
        const unsigned at = z * plane + y * width + x;
        if (values[at] == 0) continue;
        unsigned root = row * LANES + run_start(begins[row], lane);
        while (parent[root] != root) root = parent[root];
        const unsigned root_row = root / LANES;
        labels[at] = (z0 + (root_row >> y_bits)) * plane + (y0 + (root_row & (brick_y - 1))) * width + x0 + root % LANES;
    }
}

// Joins across the faces between bricks along an axis (0: x, 1: y, 2: z), a thread for each of ``pairs`` pairs of voxels.
extern "C" __global__ void __launch_bounds__(256) join_bricks(
    const VALUE* __restrict__ values, unsigned* labels, unsigned width, unsigned height, unsigned depth, unsigned y_bits,
    unsigned axis, unsigned pairs) {
    const unsigned i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= pairs) return;
    const unsigned brick_y = 1u << y_bits, brick_z = BRICK_ROWS >> y_bits, plane = width * height;
    unsigned x, y, z, step;
    if (axis == 0) {
        const unsigned faces = (width - 1) / LANES;
        x = (i % faces + 1) * LANES;
        y = i / faces % height;
        z = i / faces / height;
        step = 1;
    } else if (axis == 1) {
        const unsigned faces = (height - 1) / brick_y;
        x = i % width;
        y = (i / width % faces + 1) * brick_y;
        z = i / width / faces;
        step = width;
    } else {
        x = i % width;
        y = i / width % height;
        z = (i / plane + 1) * brick_z;
        step = plane;
    }
    const unsigned at = z * plane + y * width + x, other = at - step;
    const VALUE value = values[at];
    if (value == 0 || values[other] != value) return;
    // If the neighbouring pair in the same two bricks has this value too, that pair joins all four.
    if (axis != 0 && x % LANES && values[at - 1] == value && values[other - 1] == value) return;
    if (axis != 1 && y % brick_y && values[at - width] == value && values[other - width] == value) return;
    if (axis != 2 && z % brick_z && values[at - plane] == value && values[other - plane] == value) return;
    join(labels, at, other);
}

static __device__ __forceinline__ bool begins_run(const VALUE* values, unsigned at, unsigned x) {
    const VALUE value = values[at];
    return value != 0 && (x == 0 || value != values[at - 1]);
}

// Counts the runs that begin in each stretch, and those of them that hold a root.
extern "C" __global__ void __launch_bounds__(256) count_runs(
    const VALUE* __restrict__ values, const unsigned* __restrict__ labels, unsigned voxels, unsigned width,
    unsigned stretches, unsigned* __restrict__ counts) {
    const unsigned lane = threadIdx.x % LANES, stretch = (blockIdx.x * blockDim.x + threadIdx.x) / LANES;
    if (stretch >= stretches) return;
    unsigned runs = 0, roots = 0;
    for (unsigned offset = lane; offset < STRETCH; offset += LANES) {
        const unsigned at = stretch * STRETCH + offset;
        if (at < voxels && begins_run(values, at, at % width)) {
            runs += 1;
            roots += labels[at] == at;
        }
    }
    for (int lanes = 16; lanes; lanes /= 2) {
        runs += __shfl_xor_sync(ALL_LANES, runs, lanes);
        roots += __shfl_xor_sync(ALL_LANES, roots, lanes);
    }
    if (lane == 0) {
        counts[stretch] = runs;
        counts[stretches + stretch] = roots;
    }
}

// Replaces each of a row of counts by the sum of those before it; totals gets the sum of all. One block a row.
extern "C" __global__ void __launch_bounds__(1024) add_up_counts(
    unsigned* __restrict__ counts, unsigned n, unsigned* __restrict__ totals) {
    __shared__ unsigned sums[LANES];
    const unsigned lane = threadIdx.x % LANES, warp = threadIdx.x / LANES;
    unsigned* own = counts + (unsigned long long)blockIdx.x * n;
    unsigned before = 0;
    for (unsigned base = 0; base < n; base += blockDim.x) {
        const unsigned i = base + threadIdx.x, count = i < n ? own[i] : 0;
        unsigned sum = count;
        for (unsigned lanes = 1; lanes < LANES; lanes *= 2) {
            const unsigned left = __shfl_up_sync(ALL_LANES, sum, lanes);
            if (lane >= lanes) sum += left;
        }
        if (lane == LANES - 1) sums[warp] = sum;
        __syncthreads();
        if (warp == 0) {
            unsigned all = sums[lane];
            for (unsigned lanes = 1; lanes < LANES; lanes *= 2) {
                const unsigned left = __shfl_up_sync(ALL_LANES, all, lanes);
                if (lane >= lanes) all += left;
            }
            sums[lane] = all;
        }
        __syncthreads();
        if (i < n) own[i] = before + (warp ? sums[warp - 1] : 0) + sum - count;
        before += sums[LANES - 1];
        __syncthreads();
    }
    if (threadIdx.x == 0) totals[blockIdx.x] = before;
}

// Numbers the roots, from 1 in scan order; ``earlier`` holds the number of roots before each stretch.
extern "C" __global__ void __launch_bounds__(256) number_roots(
    const VALUE* __restrict__ values, unsigned* __restrict__ labels, unsigned voxels, unsigned width,
    unsigned stretches, const unsigned* __restrict__ earlier) {
    const unsigned lane = threadIdx.x % LANES, stretch = (blockIdx.x * blockDim.x + threadIdx.x) / LANES;
    if (stretch >= stretches) return;
    unsigned next = earlier[stretch] + 1;
    for (unsigned offset = lane; offset < STRETCH; offset += LANES) {
        const unsigned at = stretch * STRETCH + offset;
        const bool is_root = at < voxels && begins_run(values, at, at % width) && labels[at] == at;
        const unsigned found = __ballot_sync(ALL_LANES, is_root);
        if (is_root) labels[at] = NUMBERED | (next + __popc(found & ((1u << lane) - 1)));
        next += __popc(found);
    }
}

// Writes the runs with the numbers of their components; ``earlier`` holds the number of runs before each stretch.
extern "C" __global__ void __launch_bounds__(256) write_runs(
    const VALUE* __restrict__ values, const unsigned* __restrict__ labels, unsigned voxels, unsigned width,
    unsigned stretches, const unsigned* __restrict__ earlier, long long* __restrict__ first, int* __restrict__ start,
    int* __restrict__ stop, unsigned* __restrict__ component) {
    const unsigned lane = threadIdx.x % LANES, stretch = (blockIdx.x * blockDim.x + threadIdx.x) / LANES;
    if (stretch >= stretches) return;
    unsigned next = earlier[stretch];
    for (unsigned offset = lane; offset < STRETCH; offset += LANES) {
        const unsigned at = stretch * STRETCH + offset, x = at % width;
        const bool is_inside = at < voxels, is_first = is_inside && begins_run(values, at, x);
        const unsigned found = __ballot_sync(ALL_LANES, is_first);
        const unsigned run = next + __popc(found & ((1u << lane) - 1));
        next += __popc(found);
        if (!is_inside) continue;
        if (x == 0) first[at / width] = run;
        if (at == voxels - 1) first[at / width + 1] = run + is_first;
        if (is_first) {
            unsigned number = labels[at];
            while (!(number & NUMBERED)) number = labels[number];
            start[run] = (int)x;
            component[run] = number & ~NUMBERED;
        }
        const VALUE value = values[at];
        if (value != 0 && (x == width - 1 || values[at + 1] != value)) stop[run + is_first - 1] = (int)x + 1;
    }
}
