// SPDX-License-Identifier: Apache-2.0
//
// Which servers are ejected as they are slow beside the others (`eject.slow`): see shm/server_slowness.h for how that is told from
// chance. A failure is a fact and ejects by itself; that a server is slow can only be said beside others, over the same time. So a
// kind of request that takes long everywhere, and a database behind all that is slow, eject nobody; nor is a server judged while
// it warms up.
//
// Such a server comes back on trial (`slow_trials` of its health): three answers in a row that are too slow put it out again, one
// that is not ends the trial. One answer tells little where the others' differ much: what is slow, but not beyond them, tells
// nothing. It is asked alone for as long as that takes; if the trial is not over then, it still is judged so.
#include "common/os/log.h"
#include "worker/upstream/upstream.h"

#include <algorithm>

namespace ladle::worker {

namespace {

constexpr std::uint32_t kSlowTrials = 3;
constexpr loop::Nanos kLeastSlowTrial = 5'000'000'000;
constexpr std::uint64_t kTimesOnTrial = 4; // as long as it took before: three answers, and some time until the first is asked for

std::chrono::microseconds for_people(std::chrono::nanoseconds time) noexcept
{
    return std::chrono::duration_cast<std::chrono::microseconds>(time);
}

} // namespace

/// Not those of its first seconds, nor of those after it came back: an empty cache, or code that is not compiled yet, is over soon.
shm::Times Upstream::times_of(const Member& member, loop::Nanos now) const noexcept
{
    const shm::ServerHealth& health = member.entry->health;
    const loop::Nanos back = std::max({health.out_until_ns.load(std::memory_order_relaxed),
                                       health.back_ns.load(std::memory_order_relaxed),
                                       health.known_ns.load(std::memory_order_relaxed)});
    const std::chrono::milliseconds warming = std::max(settings_.slow_start, settings_.eject.within);
    return shm::read_times(health.times, settings_.eject.within, now, back == 0 ? 0 : back + loop::to_nanos(warming));
}

/// Shows the times of each other one of its kind; how many of those are in order.
template <typename Take>
std::size_t Upstream::look_beside(std::uint32_t member, loop::Nanos now, Take take) const
{
    std::size_t looked = 0;
    std::size_t in_order = 0;
    for (std::size_t i = 1; i < members_.size() && looked < kMostBeside; ++i) {
        const Member& one = members_[(member + i) % members_.size()];
        if (one.settings->is_backup == members_[member].settings->is_backup && one.has_entry()) {
            take(times_of(one, now));
            ++looked;
            in_order += is_in_order(one, now) ? 1 : 0;
        }
    }
    return in_order;
}

/// The one in the middle of the others, if of half of them at least enough is known; of two the slower one, so that doubt is in
/// favour of the server.
shm::Pooled Upstream::middle_times(std::uint32_t member, loop::Nanos now)
{
    typical_times_.clear();
    const std::size_t in_order = look_beside(member, now, [this](const shm::Times& times) {
        const shm::Pooled all = shm::pool(times);
        if (all.count >= settings_.eject.slow_requests) {
            typical_times_.push_back(all);
        }
    });
    if (typical_times_.empty() || typical_times_.size() * 2 < in_order) {
        return {};
    }
    const auto middle = typical_times_.begin() + static_cast<std::ptrdiff_t>(typical_times_.size() / 2);
    std::nth_element(typical_times_.begin(), middle, typical_times_.end(),
                     [](const auto& a, const auto& b) { return a.level < b.level; });
    return *middle;
}

/// The same of those with which it can be compared.
shm::Difference Upstream::middle_difference(std::uint32_t member, const shm::Times& own, loop::Nanos now)
{
    differences_.clear();
    const std::size_t in_order = look_beside(member, now, [&](const shm::Times& times) {
        const shm::Difference difference = shm::compare(own, times);
        if (difference.count >= settings_.eject.slow_requests) {
            differences_.push_back(difference);
        }
    });
    if (differences_.empty() || differences_.size() * 2 < in_order) {
        return {};
    }
    const auto middle = differences_.begin() + static_cast<std::ptrdiff_t>((differences_.size() - 1) / 2);
    std::nth_element(differences_.begin(), middle, differences_.end(),
                     [](const auto& a, const auto& b) { return a.apart < b.apart; });
    return *middle;
}

bool Upstream::is_on_slow_trial(const shm::ServerHealth& health) const noexcept
{
    return settings_.eject.slow != 0 && health.slow_trials.load(std::memory_order_relaxed) != 0 &&
           health.out_until_ns.load(std::memory_order_relaxed) != 0;
}

/// For so long it is asked alone.
loop::Nanos Upstream::time_of_slow_trial(const shm::ServerHealth& health) const noexcept
{
    const shm::Slowness slowness = shm::unpack_slowness(health.slowness.load(std::memory_order_relaxed));
    return std::max(kLeastSlowTrial,
                    std::min(loop::to_nanos(slowness.own) * kTimesOnTrial, loop::to_nanos(settings_.eject.time)));
}

bool Upstream::report_speed(std::uint32_t member, loop::Nanos time, loop::Nanos now) noexcept
{
    return settings_.eject.slow != 0 && members_[member].has_entry() && judge_time(member, time, now);
}

bool Upstream::judge_time(std::uint32_t member, loop::Nanos time, loop::Nanos now)
{
    shm::ServerHealth& health = members_[member].entry->health;
    if (now - std::min(time, now) < health.out_until_ns.load(std::memory_order_relaxed)) {
        return false; // it was sent before the ejection was over, or even before it began
    }
    const std::chrono::nanoseconds took(time);
    const bool is_counted = shm::add_time(health.times, took, settings_.eject.within, now);
    return (is_on_slow_trial(health) && judge_trial(member, took, now)) || (is_counted && judge_window(member, now));
}

/// Where its answers take longer than its clients have patience they are all that is heard of it. How long it would have taken is
/// not known, but if that is too long already it will not be less.
bool Upstream::judge_waited(std::uint32_t member, loop::Nanos waited, loop::Nanos now)
{
    const config::Ejection& rules = settings_.eject;
    if (std::chrono::nanoseconds(waited) < rules.slow_least) {
        return false;
    }
    const shm::Pooled others = middle_times(member, now);
    const bool is_late = others.count != 0 && std::chrono::nanoseconds(waited) >= others.typical() * rules.slow;
    return is_late && judge_time(member, waited, now);
}

bool Upstream::judge_trial(std::uint32_t member, std::chrono::nanoseconds took, loop::Nanos now)
{
    const config::Ejection& rules = settings_.eject;
    std::atomic<std::uint32_t>& trials = members_[member].entry->health.slow_trials;
    std::uint32_t seen = trials.load(std::memory_order_relaxed);
    const shm::Pooled others = took >= rules.slow_least ? middle_times(member, now) : shm::Pooled{};
    if (others.count == 0 || took < others.typical() * rules.slow) {
        trials.store(0, std::memory_order_relaxed); // it is quick, or there is nobody to compare it with
        return false;
    }
    if (!shm::is_too_slow(took, others, rules.slow) || seen == 0 ||
        !trials.compare_exchange_strong(seen, seen + 1, std::memory_order_relaxed)) {
        return false;
    }
    return seen >= kSlowTrials && eject_slow(member, {for_people(took), for_people(others.typical())}, now);
}

bool Upstream::judge_window(std::uint32_t member, loop::Nanos now)
{
    const config::Ejection& rules = settings_.eject;
    const shm::Times own = times_of(members_[member], now);
    const shm::Pooled all = shm::pool(own);
    if (all.count < rules.slow_requests || all.typical() < rules.slow_least) {
        return false;
    }
    const shm::Difference beside = middle_difference(member, own, now);
    return beside.own() >= rules.slow_least && shm::is_slower(beside, rules.slow) &&
           eject_slow(member, {for_people(beside.own()), for_people(beside.others())}, now);
}

/// What its return needs is said before it goes out: if a worker dies in between, no server comes back without a trial.
bool Upstream::eject_slow(std::uint32_t member, shm::Slowness slowness, loop::Nanos now)
{
    shm::ServerHealth& health = members_[member].entry->health;
    const std::uint64_t until = health.out_until_ns.load(std::memory_order_relaxed);
    if (until > now || !may_eject(member, now)) {
        return false;
    }
    const std::uint64_t word = pack(slowness);
    health.slowness.store(word, std::memory_order_relaxed);
    health.slow_trials.store(1, std::memory_order_relaxed);
    if (!eject(health, until, shm::kOutForSlowness, now)) {
        return false; // another worker was quicker
    }
    row_.add(shm::Metric::server_ejections_slow);
    os::log(os::Level::warning, "a server is left alone for a while",
            {{"upstream", settings_.name},
             {"server", members_[member].settings->text},
             {"failure", shm::describe_slowness(word)}});
    return true;
}

} // namespace ladle::worker
