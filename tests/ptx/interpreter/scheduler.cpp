// Order of execution. Lanes of a warp that are at the same instruction step together, the lowest instruction first, so
// that they meet again where a structured program joins. With a seed, warps and groups of lanes take turns at random.
#include "machine.h"
#include <algorithm>

namespace ptx {

namespace {

constexpr u32 MAX_TURN = 16, MAX_WARP_TURN = 200;  // instructions, with a seed
constexpr u64 UNLIMITED = ~0ull;
constexpr size_t MAX_FINDINGS = 40;

string describe(const Warp& warp, const Instruction& instruction, u32 lane) {
    const Block& block = *warp.block;
    return format_text("block (%u, %u, %u) thread %u, PTX line %d: %s", block.x, block.y, block.z, warp.first_thread + lane,
                       instruction.line, instruction.text.c_str());
}

// Lanes that are at the same instruction continue together; with a seed only sometimes.
void merge_groups(Warp& warp, bool is_random) {
    Launch& launch = *warp.block->launch;
    vector<Group>& groups = warp.groups;
    for (size_t a = 0; a < groups.size(); a++)
        for (size_t b = a + 1; b < groups.size();) {
            const bool is_same = groups[a].at == groups[b].at && groups[a].state == State::RUNNING && groups[b].state == State::RUNNING;
            if (!is_same || (is_random && launch.next_random() % 2)) { b++; continue; }
            groups[a].mask |= groups[b].mask;
            groups.erase(groups.begin() + long(b));
        }
}

// Index of the group that continues, or -1; `meeting`: the lowest instruction of the others.
int choose_group(Warp& warp, bool is_random, u32& meeting) {
    Launch& launch = *warp.block->launch;
    int chosen = -1;
    u32 running = 0;
    for (size_t i = 0; i < warp.groups.size(); i++) {
        if (warp.groups[i].state != State::RUNNING) continue;
        running++;
        const bool is_better = chosen < 0 || (is_random ? launch.next_random() % running == 0
                                                        : warp.groups[i].at < warp.groups[u32(chosen)].at);
        if (is_better) chosen = int(i);
    }
    meeting = ALL_LANES;
    for (size_t i = 0; i < warp.groups.size(); i++)
        if (int(i) != chosen && warp.groups[i].state == State::RUNNING) meeting = std::min(meeting, warp.groups[i].at);
    return chosen;
}

u32 evaluate_guard(Warp& warp, const Instruction& instruction, u32 mask) {
    if (instruction.guard < 0) return mask;
    const u32 undefined = ~warp.defined[u32(instruction.guard)] & mask;
    if (undefined) report(warp, instruction, first_lane(undefined), "a branch on unwritten memory");
    const u64* const predicate = &warp.values[u64(instruction.guard) * 32];
    u32 taken = 0;
    for_lanes(mask, [&](u32 lane) { taken |= u32(bool(predicate[lane]) != instruction.guard_is_negated) << lane; });
    return taken;
}

// Runs a group until it meets another one, waits, ends or has used its turn of instructions.
void run_group(Warp& warp, size_t index, u32 meeting, u64 turn, u64& warp_turn) {
    Launch& launch = *warp.block->launch;
    const Instruction* const code = launch.kernel->code.data();
    Counts& counts = *launch.counts;
    const u32 mask = warp.groups[index].mask;
    u32& at = warp.groups[index].at;
    for (bool is_first = true;; is_first = false) {
        if ((!is_first && at >= meeting) || turn-- == 0 || warp_turn == 0) return;
        warp_turn--;
        const Instruction& instruction = code[at];
        counts.instructions[instruction.counted_as]++;
        counts.lanes += u32(__builtin_popcount(mask));
        if (++launch.executed > launch.options.max_instructions) fail("the kernel does not end");
        const u32 active = evaluate_guard(warp, instruction, mask);
        switch (instruction.op) {
            case Op::PLAIN: if (active) instruction.execute(warp, instruction, active); break;
            case Op::LOAD: if (active) load(warp, instruction, active); break;
            case Op::STORE: if (active) store(warp, instruction, active); break;
            case Op::ATOMIC: if (active) update_atomically(warp, instruction, active); break;
            case Op::PARAMETER: if (active) load_parameter(warp, instruction, active); break;
            case Op::FENCE: break;
            case Op::TRAP: if (active) stop(warp, instruction, first_lane(active), "a trap"); break;
            case Op::BRANCH:
                if (active == mask) { at = u32(instruction.target); continue; }
                if (!active) break;
                counts.divergent_branches++;
                at++;
                warp.groups[index].mask = mask & ~active;
                warp.groups.push_back(Group{u32(instruction.target), active, State::RUNNING});
                return;
            case Op::EXIT:
                if (!active) break;
                warp.alive &= ~active;
                at++;
                warp.groups[index].mask = mask & ~active;
                if (active == mask) warp.groups.erase(warp.groups.begin() + long(index));
                return;
            default:  // barriers and exchanges
                if (active != mask) stop(warp, instruction, first_lane(mask), "a barrier or an exchange under a condition");
                warp.groups[index].state = instruction.op == Op::BLOCK_BARRIER ? State::AT_BLOCK_BARRIER : State::AT_EXCHANGE;
                return;
        }
        at++;
    }
}

// Runs a warp until it ends or waits for others; with a seed, until its turn is over.
void run_warp(Warp& warp) {
    Launch& launch = *warp.block->launch;
    const bool is_random = launch.options.seed != 0;
    u64 warp_turn = is_random ? 1 + launch.next_random() % MAX_WARP_TURN : UNLIMITED;
    while (warp_turn) {
        merge_groups(warp, is_random);
        u32 meeting;
        const int chosen = choose_group(warp, is_random, meeting);
        if (chosen < 0) {
            if (!complete_exchange(warp)) return;
            continue;
        }
        const u64 turn = is_random ? 1 + launch.next_random() % MAX_TURN : UNLIMITED;
        run_group(warp, size_t(chosen), is_random ? ALL_LANES : meeting, turn, warp_turn);
        complete_exchange(warp);
    }
}

bool can_run(Warp& warp) {
    const auto is_running = [](const Group& group) { return group.state == State::RUNNING; };
    return std::any_of(warp.groups.begin(), warp.groups.end(), is_running) || complete_exchange(warp);
}

// Runs all warps until each of them has ended or waits at a barrier of the block.
void run_to_barrier(Block& block) {
    Launch& launch = *block.launch;
    if (!launch.options.seed) {
        for (Warp& warp : block.warps) run_warp(warp);
        return;
    }
    for (;;) {
        vector<Warp*> able;
        for (Warp& warp : block.warps) if (can_run(warp)) able.push_back(&warp);
        if (able.empty()) return;
        run_warp(*able[launch.next_random() % able.size()]);
    }
}

void pass_barrier(Block& block) {
    const vector<Instruction>& code = block.launch->kernel->code;
    int alive = 0, waiting = 0;
    for (const Warp& warp : block.warps) {
        alive += __builtin_popcount(warp.alive);
        for (const Group& group : warp.groups)
            if (group.state == State::AT_BLOCK_BARRIER) waiting += __builtin_popcount(group.mask);
    }
    if (waiting != alive) {
        string text = "a block waits forever:";
        for (const Warp& warp : block.warps)
            for (const Group& group : warp.groups)
                if (text.size() < 1500)
                    text += format_text("\n  warp %u lanes %08x at line %d: %s", warp.number, group.mask,
                                        code[group.at].line, code[group.at].text.c_str());
        throw Error{text};
    }
    for (Warp& warp : block.warps) {
        if (warp.groups.empty()) continue;
        // A barrier is executed by whole warps: it is undefined what happens to lanes that come from different places.
        for (const Group& group : warp.groups)
            if (group.at != warp.groups[0].at)
                stop(warp, code[group.at], first_lane(group.mask), "lanes of a warp are at different barriers");
        warp.groups.assign(1, Group{warp.groups[0].at + 1, warp.alive, State::RUNNING});
    }
    block.epoch++;
    block.launch->counts->barriers++;
}

void start_warp(Block& block, u32 number) {
    const Launch& launch = *block.launch;
    const u32 *const size = launch.block_size, *const grid = launch.grid;
    Warp& warp = block.warps[number];
    warp.block = &block;
    warp.number = number;
    warp.first_thread = 32 * number;
    warp.epoch = 1;
    warp.alive = launch.threads - 32 * number >= 32 ? ALL_LANES : (1u << (launch.threads - 32 * number)) - 1;
    warp.values.resize(launch.kernel->widths.size() * 32);
    warp.defined.assign(launch.kernel->widths.size(), 0);
    warp.groups.assign(1, Group{0, warp.alive, State::RUNNING});
    for (u32 lane = 0; lane < 32; lane++) {
        const u32 thread = warp.first_thread + lane, bit = 1u << lane;
        const u32 values[SPECIALS] = {
            thread % size[0], thread / size[0] % size[1], thread / size[0] / size[1], size[0], size[1], size[2], block.x,
            block.y, block.z, grid[0], grid[1], grid[2], lane, number, bit - 1, bit | (bit - 1), bit, ~(bit - 1),
            ~(bit | (bit - 1))};
        for (u32 i = 0; i < SPECIALS; i++) {
            warp.values[i * 32 + lane] = values[i];
            warp.defined[i] = ALL_LANES;
        }
    }
}

}  // namespace

void report(const Warp& warp, const Instruction& instruction, u32 lane, const char* what) {
    Launch& launch = *warp.block->launch;
    const string key = format_text("%s: ", what), place = format_text(", PTX line %d: ", instruction.line);
    for (const string& finding : launch.findings)
        if (finding.rfind(key, 0) == 0 && finding.find(place) != string::npos) return;
    if (launch.findings.size() < MAX_FINDINGS) launch.findings.insert(key + describe(warp, instruction, lane));
}

void stop(const Warp& warp, const Instruction& instruction, u32 lane, const string& what) {
    throw Error{what + ": " + describe(warp, instruction, lane)};
}

void run_block(Block& block) {
    const Launch& launch = *block.launch;
    const u32 bytes = launch.kernel->shared_bytes + launch.dynamic_bytes;
    block.epoch = 1;
    block.shared.assign(bytes, 0xff);
    block.shared_written.assign(bytes, 0);
    if (launch.options.finds_races) block.cells.assign(bytes / 4 + 1, Cell());
    block.warps.resize((launch.threads + 31) / 32);
    for (u32 number = 0; number < block.warps.size(); number++) start_warp(block, number);
    for (;;) {
        run_to_barrier(block);
        if (std::all_of(block.warps.begin(), block.warps.end(), [](const Warp& warp) { return warp.groups.empty(); })) return;
        pass_barrier(block);
    }
}

string run_grid(Launch& launch) {
    const u32 *const grid = launch.grid, most = launch.kernel->max_threads;
    launch.random = launch.options.seed * 0x9e3779b97f4a7c15ull | 1;
    try {
        if (most && launch.threads > most)
            fail("a block of %u threads is larger than the kernel's launch bounds of %u", launch.threads, most);
        Block block;
        block.launch = &launch;
        const u64 blocks = u64(grid[0]) * grid[1] * grid[2];
        for (u64 i = 0; i < blocks; i++) {
            const u64 number = launch.options.seed % 2 ? blocks - 1 - i : i;  // blocks have no order: odd seeds reverse it
            block.x = u32(number % grid[0]);
            block.y = u32(number / grid[0] % grid[1]);
            block.z = u32(number / grid[0] / grid[1]);
            run_block(block);
        }
    } catch (const Error& caught) {
        launch.findings.insert(caught.message);
    }
    if (launch.findings.empty()) return {};
    string text = launch.kernel->name + ":";
    for (const string& finding : launch.findings) text += "\n  " + finding;
    return text;
}

}  // namespace ptx
