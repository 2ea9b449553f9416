// SPDX-License-Identifier: Apache-2.0
//
// How many requests a server may have: max_conn, and the limit that finds itself (shm/server_limit.h).
#include "worker/upstream/upstream.h"

#include <xxhash.h>

#include <algorithm>
#include <ctime>

namespace ladle::worker {

/// An agent may say another max_conn at any time, or a reload bring one.
shm::LimitRules Upstream::limit_rules(const Member& member) const noexcept
{
    return shm::limit_rules(settings_.adaptive->least, settings_.adaptive->tolerance, most_of(member));
}

std::uint32_t Upstream::limit_of(std::uint32_t member) const noexcept
{
    const Member& one = members_[member];
    return one.has_entry() ? shm::current_limit(one.entry->limit, limit_rules(one)) : 0;
}

std::uint32_t Upstream::count_room(const Member& member, std::uint32_t in_flight) const noexcept
{
    const std::uint32_t most = most_of(member);
    const std::uint32_t room = most == 0 ? kEndless : most - std::min(most, in_flight);
    if (!finds_limit_of(member)) {
        return room;
    }
    const std::uint32_t limit = shm::current_limit(member.entry->limit, limit_rules(member));
    return std::min(room, limit - std::min(limit, shm::unanswered(regions_, member.server->index())));
}

void Upstream::settle_request(std::uint32_t member) noexcept
{
    auto& cell = row_.unanswered[members_[member].server->index()];
    cell.store(cell.load(std::memory_order_relaxed) - 1, std::memory_order_relaxed);
    stir_queue();
}

void Upstream::count_limit_change(shm::LimitChange change) noexcept
{
    switch (change) {
    case shm::LimitChange::none:
        return;
    case shm::LimitChange::raised:
        return row_.add(shm::Metric::server_limits_raised);
    case shm::LimitChange::lowered:
        return row_.add(shm::Metric::server_limits_lowered);
    case shm::LimitChange::measured:
        return row_.add(shm::Metric::server_limits_measured);
    }
}

/// Limits are measured at the same moments by all who send to a server. The clock may be set at any time.
void Upstream::follow_wall_clock() noexcept
{
    if (!settings_.adaptive) {
        return;
    }
    struct timespec wall {};
    ::clock_gettime(CLOCK_REALTIME, &wall);
    const loop::Nanos now = loop::clock_now();
    const auto wall_ns = static_cast<loop::Nanos>(wall.tv_sec) * 1'000'000'000 + static_cast<loop::Nanos>(wall.tv_nsec);
    wall_offset_ = wall_ns > now ? wall_ns - now : 0;
}

/// Each server has moments of its own, the same in all who send to it: while it is held, the others take what it does not.
shm::LimitClock Upstream::limit_clock(const Member& member, loop::Nanos now) const noexcept
{
    constexpr loop::Nanos kSpread = 640'000'000'000; // longer than any has between its moments
    const std::string& text = member.settings->text;
    return {now, now + wall_offset_ + XXH3_64bits(text.data(), text.size()) % kSpread};
}

void Upstream::report_answer_time(std::uint32_t member, loop::Nanos time, loop::Nanos now) noexcept
{
    const Member& one = members_[member];
    if (finds_limit_of(one)) {
        count_limit_change(
            shm::add_limit_sample(one.entry->limit, std::chrono::nanoseconds(time), limit_rules(one), limit_clock(one, now)));
    }
}

void Upstream::report_overload(std::uint32_t member, loop::Nanos now) noexcept
{
    const Member& one = members_[member];
    if (finds_limit_of(one)) {
        count_limit_change(shm::add_limit_failure(one.entry->limit, limit_rules(one), limit_clock(one, now)));
    }
}

/// Clients that give up are all that is heard of a server which takes longer than they have patience.
void Upstream::report_abandoned(std::uint32_t member, loop::Nanos time, loop::Nanos now) noexcept
{
    const Member& one = members_[member];
    if (settings_.eject.slow != 0 && one.has_entry()) {
        judge_waited(member, time, now);
    }
    if (finds_limit_of(one)) {
        count_limit_change(
            shm::add_limit_abandoned(one.entry->limit, std::chrono::nanoseconds(time), limit_rules(one), limit_clock(one, now)));
    }
}

} // namespace ladle::worker
