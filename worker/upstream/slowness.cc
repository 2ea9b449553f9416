// SPDX-License-Identifier: Apache-2.0
//
// Which servers are ejected as they are slow beside the others (`eject.slow`): see shm/server_slowness.h for how that is told from
// chance. A failure is a fact and ejects by itself; that a server is slow can only be said beside others, over the same time. So a
// kind of request that takes long everywhere, and a database behind all that is slow, eject nobody.
#include "worker/upstream/upstream.h"

#include <algorithm>

namespace ladle::worker {

namespace {

/// On trial one request may be of a slow kind; so many one after the other are the server's doing.
constexpr std::uint32_t kSlowTrials = 3;

std::chrono::microseconds for_people(std::chrono::nanoseconds time) noexcept
{
    return std::chrono::duration_cast<std::chrono::microseconds>(time);
}

} // namespace

/// Of the others of its kind of which enough is known, the one in the middle; of two the slower one, so that doubt is in favour of
/// the server. One that is ejected has no times.
shm::Times Upstream::middle_times(std::uint32_t member, loop::Nanos now)
{
    times_.clear();
    for (const Member& one : members_) {
        if (&one == &members_[member] || one.settings->is_backup != members_[member].settings->is_backup || !one.has_entry()) {
            continue;
        }
        const shm::Times times = shm::read_times(one.entry->health.times, settings_.eject.within, now);
        if (times.count >= settings_.eject.slow_requests) {
            times_.push_back(times);
        }
    }
    if (times_.empty()) {
        return {};
    }
    const auto middle = times_.begin() + static_cast<std::ptrdiff_t>(times_.size() / 2);
    std::nth_element(times_.begin(), middle, times_.end(), [](const auto& a, const auto& b) { return a.level < b.level; });
    return *middle;
}

Upstream::Speed Upstream::judge_time(std::uint32_t member, loop::Nanos time, loop::Nanos now)
{
    const config::Ejection& rules = settings_.eject;
    const std::chrono::nanoseconds took(time);
    shm::ServerHealth& health = members_[member].entry->health;
    if (health.out_until_ns.load(std::memory_order_relaxed) > now) {
        return Speed::fine; // it began to answer before it was ejected
    }
    const bool is_trial = is_on_trial(members_[member], now) &&
                          health.out_for.load(std::memory_order_relaxed) == shm::kOutForSlowness;
    if (is_trial && took >= rules.slow_least) {
        const shm::Times others = middle_times(member, now);
        if (others.count == 0 || took < others.typical() * rules.slow) {
            return Speed::fine;
        }
        const std::uint32_t in_row = health.failures_in_row.fetch_add(1, std::memory_order_relaxed) + 1;
        return in_row >= trial_failures() + kSlowTrials ? eject_slow(member, {for_people(took), for_people(others.typical())}, now)
                                                        : Speed::slow_on_trial;
    }
    const auto own = shm::add_time(health.times, took, rules.within, now);
    if (!own || own->count < rules.slow_requests || own->typical() < rules.slow_least) {
        return Speed::fine;
    }
    const shm::Times others = middle_times(member, now);
    return shm::is_slower(*own, others, rules.slow)
               ? eject_slow(member, {for_people(own->typical()), for_people(others.typical())}, now)
               : Speed::fine;
}

Upstream::Speed Upstream::eject_slow(std::uint32_t member, shm::Slowness slowness, loop::Nanos now) noexcept
{
    shm::ServerHealth& health = members_[member].entry->health;
    const std::uint64_t until = health.out_until_ns.load(std::memory_order_relaxed);
    if (until > now || !may_eject(member, now)) {
        return Speed::fine;
    }
    health.slowness.store(pack(slowness), std::memory_order_relaxed);
    if (!eject(health, until, shm::kOutForSlowness, now)) {
        return Speed::fine; // another worker was quicker
    }
    health.failures_in_row.store(trial_failures(), std::memory_order_relaxed); // its return is a trial
    health.times.store(0, std::memory_order_relaxed);                          // which is judged by what it does then
    row_.add(shm::Metric::server_ejections_slow);
    return Speed::ejected;
}

} // namespace ladle::worker
