// SPDX-License-Identifier: Apache-2.0
#include "worker/upstream/upstream.h"

#include "common/base/assert.h"

#include <algorithm>
#include <numeric>

namespace ladle::worker {

namespace {

constexpr std::uint64_t kFirstRest = 1'000'000'000;
constexpr std::uint64_t kLongestRest = 10'000'000'000;
constexpr std::uint32_t kMostTurns = 4096;

bool is_tried(std::uint64_t tried, std::size_t member) noexcept
{
    return member < 64 && (tried >> member & 1u) != 0;
}

} // namespace

Upstream::Upstream(const config::Upstream& settings, ServerSet& servers, shm::Regions& regions, shm::ProcessRow& row)
    : settings_(settings), regions_(regions), row_(row)
{
    for (const config::UpstreamServer& server : settings.servers) {
        const int index = shm::find_server(regions.servers, settings.name, server.text);
        LADLE_ASSERT(index >= 0); // the master assigns every server before it hands out the bundle
        const auto at = static_cast<std::uint32_t>(index);
        // What is verified of a server is a part of what it is: kept connections of other settings are not used.
        std::string how = settings.tls ? '\0' + settings.tls->fingerprint : std::string();
        how += settings.protocol == config::UpstreamProtocol::h2 ? std::string_view("\0h2", 3) : std::string_view();
        members_.push_back({&server, &regions.servers.entries[at], servers.find(at, settings.name + '\0' + server.text + how)});
    }
    make_turns();
}

/// Smooth weighted round robin (as nginx does it), unrolled once: 5,1,1 → a a b a c a a.
void Upstream::make_turns()
{
    std::vector<std::int64_t> weights;
    std::uint32_t divisor = 0;
    for (const Member& member : members_) {
        divisor = std::gcd(divisor, member.settings->weight);
    }
    for (const Member& member : members_) {
        weights.push_back(member.settings->weight / std::max(divisor, 1u));
    }
    const std::int64_t total = std::accumulate(weights.begin(), weights.end(), std::int64_t{0});
    std::vector<std::int64_t> current(members_.size(), 0);
    for (std::int64_t turn = 0; turn < std::min<std::int64_t>(total, kMostTurns); ++turn) {
        for (std::size_t i = 0; i < current.size(); ++i) {
            current[i] += weights[i];
        }
        const auto best = static_cast<std::size_t>(std::max_element(current.begin(), current.end()) - current.begin());
        current[best] -= total;
        turns_.push_back(static_cast<std::uint32_t>(best));
    }
}

bool Upstream::is_usable(const Member& member, loop::Nanos now) const noexcept
{
    return member.entry->passed_over_until_ns.load(std::memory_order_relaxed) <= now;
}

std::uint32_t Upstream::count_in_flight(std::uint32_t member) const noexcept
{
    return shm::in_flight(regions_, members_[member].server->index());
}

bool Upstream::is_full(std::uint32_t member) const noexcept
{
    const std::uint32_t most = members_[member].settings->max_conn;
    return most != 0 && count_in_flight(member) >= most;
}

Upstream::Choice Upstream::choose(std::uint64_t tried, loop::Nanos now)
{
    if (members_.size() == 1) {
        return is_tried(tried, 0) ? Choice{Outcome::none_left, 0}
                                  : Choice{is_full(0) ? Outcome::all_full : Outcome::chosen, 0};
    }
    Choice choice{Outcome::none_left, 0};
    for (const bool ignore_rest : {false, true}) {
        choice = settings_.balance == config::Balance::round_robin ? choose_round_robin(tried, now, ignore_rest)
                                                                   : choose_least_busy(tried, now, ignore_rest);
        if (choice.outcome != Outcome::none_left) {
            break;
        }
    }
    return choice;
}

Upstream::Choice Upstream::choose_least_busy(std::uint64_t tried, loop::Nanos now, bool ignore_rest)
{
    Choice best{Outcome::none_left, 0};
    std::uint64_t best_load = 0;
    ++offset_;
    for (std::size_t i = 0; i < members_.size(); ++i) {
        const auto at = static_cast<std::uint32_t>((i + offset_) % members_.size());
        const Member& member = members_[at];
        if (is_tried(tried, at) || (!ignore_rest && !is_usable(member, now))) {
            continue;
        }
        const std::uint32_t in_flight = count_in_flight(at);
        if (member.settings->max_conn != 0 && in_flight >= member.settings->max_conn) {
            best.outcome = best.outcome == Outcome::none_left ? Outcome::all_full : best.outcome;
            continue;
        }
        const std::uint64_t load = (std::uint64_t{in_flight} + 1) * 1'000'000 / member.settings->weight;
        if (best.outcome != Outcome::chosen || load < best_load) {
            best = {Outcome::chosen, at};
            best_load = load;
        }
    }
    return best;
}

Upstream::Choice Upstream::choose_round_robin(std::uint64_t tried, loop::Nanos now, bool ignore_rest)
{
    // One order over all workers: the turn is counted in the first member's shared entry.
    Choice best{Outcome::none_left, 0};
    const std::uint64_t turn = members_.front().entry->turns.fetch_add(1, std::memory_order_relaxed);
    for (std::size_t i = 0; i < turns_.size(); ++i) {
        const std::uint32_t at = turns_[(turn + i) % turns_.size()];
        if (is_tried(tried, at) || (!ignore_rest && !is_usable(members_[at], now))) {
            continue;
        }
        if (!is_full(at)) {
            return {Outcome::chosen, at};
        }
        best.outcome = Outcome::all_full;
    }
    return best;
}

void Upstream::begin_request(std::uint32_t member) noexcept
{
    auto& cell = row_.in_flight[members_[member].server->index()];
    cell.store(cell.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
    auto& requests = members_[member].entry->requests;
    requests.store(requests.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
}

void Upstream::end_request(std::uint32_t member) noexcept
{
    auto& cell = row_.in_flight[members_[member].server->index()];
    cell.store(cell.load(std::memory_order_relaxed) - 1, std::memory_order_relaxed);
    stir_queue();
}

bool Upstream::enqueue(QueuePlace& place) noexcept
{
    if (queued_ >= settings_.queue_size) {
        return false;
    }
    ++queued_;
    row_.add(shm::Metric::server_queue);
    place.insert_before(queue_);
    return true;
}

void Upstream::leave_queue(QueuePlace& place) noexcept
{
    place.unlink();
    --queued_;
    row_.subtract(shm::Metric::server_queue);
}

void Upstream::stir_queue() noexcept
{
    if (queue_.is_linked()) {
        static_cast<QueuePlace*>(queue_.next)->wake->kick_later();
    }
}

void Upstream::report_failure(Member& member, loop::Nanos now) noexcept
{
    const std::uint32_t failures = member.entry->failures.load(std::memory_order_relaxed);
    member.entry->failures.store(failures + 1, std::memory_order_relaxed);
    const std::uint64_t rest = std::min(kFirstRest << std::min(failures, 10u), kLongestRest);
    member.entry->passed_over_until_ns.store(now + rest, std::memory_order_relaxed);
}

void Upstream::report_success(Member& member) noexcept
{
    if (member.entry->failures.load(std::memory_order_relaxed) != 0) {
        member.entry->failures.store(0, std::memory_order_relaxed);
        member.entry->passed_over_until_ns.store(0, std::memory_order_relaxed);
    }
}

} // namespace ladle::worker
