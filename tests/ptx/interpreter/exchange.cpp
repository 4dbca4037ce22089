// Shuffles, votes and barriers of warps: lanes wait until all that their mask names have arrived.
#include "machine.h"

namespace ptx {

namespace {

u32 lanes_of_warp(const Warp& warp) {
    const u32 threads = warp.block->launch->threads - warp.first_thread;
    return threads >= 32 ? ALL_LANES : (1u << threads) - 1;
}

// Lane that a shuffle reads from; sets is_inside to whether it is in the lane's segment.
u32 source_lane(Shuffle kind, u32 lane, u64 b, u64 c, bool& is_inside) {
    const int own = int(lane), clamp = int(c & 31), segment = int(c >> 8 & 31), shift = int(b & 31);
    const int last = (own & segment) | (clamp & ~segment & 31), first = own & segment;
    int source;
    switch (kind) {
        case Shuffle::UP: source = own - shift; is_inside = source >= last; break;
        case Shuffle::DOWN: source = own + shift; is_inside = source <= last; break;
        case Shuffle::XOR: source = own ^ shift; is_inside = source <= last; break;
        default: source = first | (shift & ~segment); is_inside = source <= last;
    }
    return u32(is_inside ? source : own);
}

void shuffle(Warp& warp, const Instruction& instruction, u32 mask, u32 present, const u64* values, u32 values_defined) {
    const u64 *const b = read(warp, instruction.sources[1]), *const c = read(warp, instruction.sources[2]);
    const u32 b_undefined = ~defined(warp, instruction.sources[1]) & mask;
    if (b_undefined) report(warp, instruction, first_lane(b_undefined), "a shuffle from a lane that follows from unwritten memory");
    const Shuffle kind = Shuffle(instruction.mode);
    u64 results[32];
    u32 known = 0, inside = 0;
    for_lanes(mask, [&](u32 lane) {
        if (kind == Shuffle::INDEX && b[lane] > 31) report(warp, instruction, lane, "a shuffle from a lane above 31");
        bool is_inside;
        const u32 source = source_lane(kind, lane, b[lane], c[lane], is_inside);
        if (!(present >> source & 1)) stop(warp, instruction, lane, "a shuffle from a lane that takes no part");
        results[lane] = values[source];
        known |= (values_defined >> source & 1) << lane;
        inside |= u32(is_inside) << lane;
    });
    u64* const out = lanes_of(warp, instruction.destinations[0]);
    for_lanes(mask, [&](u32 lane) { out[lane] = results[lane]; });
    set_defined(warp, instruction.destinations[0], mask, known);
    if (instruction.destinations.size() < 2) return;
    u64* const predicate = lanes_of(warp, instruction.destinations[1]);
    for_lanes(mask, [&](u32 lane) { predicate[lane] = inside >> lane & 1; });
    set_defined(warp, instruction.destinations[1], mask, ALL_LANES);
}

void vote(Warp& warp, const Instruction& instruction, u32 mask, u32 present, u32 votes) {
    const Vote kind = Vote(instruction.mode);
    const u64 result = kind == Vote::BALLOT ? votes : kind == Vote::ANY ? votes != 0 : votes == present;
    u64* const out = lanes_of(warp, instruction.destinations[0]);
    for_lanes(mask, [&](u32 lane) { out[lane] = result; });
    set_defined(warp, instruction.destinations[0], mask, ALL_LANES);
}

// Groups that wait for the same exchange as `first`; their lanes are added to `present`.
vector<Group*> find_participants(Warp& warp, const Group& first, u32 members, u32& present) {
    const vector<Instruction>& code = warp.block->launch->kernel->code;
    const Instruction& wanted = code[first.at];
    vector<Group*> participants;
    for (Group& group : warp.groups) {
        const Instruction& instruction = code[group.at];
        if (group.state != State::AT_EXCHANGE || instruction.op != wanted.op || instruction.mode != wanted.mode) continue;
        const u64* const masks = read(warp, instruction.sources.back());
        bool is_same = true;
        for_lanes(group.mask, [&](u32 lane) {
            if (u32(masks[lane]) == members) return;
            if (members >> lane & 1) stop(warp, instruction, lane, "lanes wait for each other with different masks");
            is_same = false;
        });
        if (!is_same) continue;
        present |= group.mask;
        participants.push_back(&group);
    }
    return participants;
}

}  // namespace

bool complete_exchange(Warp& warp) {
    const vector<Instruction>& code = warp.block->launch->kernel->code;
    for (const Group& first : warp.groups) {
        if (first.state != State::AT_EXCHANGE) continue;
        const Instruction& instruction = code[first.at];
        const u32 lane = first_lane(first.mask), members = u32(read(warp, instruction.sources.back())[lane]);
        u32 present = 0;
        const vector<Group*> participants = find_participants(warp, first, members, present);
        if (members & warp.alive & ~present) continue;
        if (present & ~members) stop(warp, instruction, first_lane(present & ~members), "a lane is not in its own mask");
        if (members & ~warp.alive & lanes_of_warp(warp)) report(warp, instruction, lane, "a mask names lanes that have left");

        u64 values[32] = {};
        u32 known = 0, votes = 0;
        for (const Group* group : participants) {
            if (group->at != first.at) report(warp, instruction, lane, "lanes of one exchange are at different instructions");
            if (instruction.op == Op::WARP_BARRIER) continue;
            const Operand& source = code[group->at].sources[0];
            const u64* const from = read(warp, source);
            known |= defined(warp, source) & group->mask;
            for_lanes(group->mask, [&](u32 each) {
                values[each] = from[each];
                votes |= u32(from[each] != 0) << each;
            });
        }
        if (instruction.op == Op::VOTE && present & ~known)
            report(warp, instruction, first_lane(present & ~known), "a vote on unwritten memory");
        // Only a barrier orders memory, and here only one of the whole warp.
        if (instruction.op == Op::WARP_BARRIER && present == warp.alive) warp.epoch++;
        for (Group* group : participants) {
            const Instruction& each = code[group->at];
            if (each.op == Op::VOTE) vote(warp, each, group->mask, present, votes);
            if (each.op == Op::SHUFFLE) shuffle(warp, each, group->mask, present, values, known);
            group->at++;
            group->state = State::RUNNING;
        }
        return true;
    }
    return false;
}

}  // namespace ptx
