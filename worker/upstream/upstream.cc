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
constexpr std::uint64_t kFull = ~std::uint64_t{0};
constexpr std::uint64_t kLeastShare = 10; // percent, at the beginning of a slow start
constexpr unsigned kMostDraws = 8;        // before all are looked at
constexpr loop::Nanos kTrial = 5'000'000'000;
constexpr std::uint32_t kMostTimes = 1000; // that an ejection grows
constexpr loop::Nanos kSettleEvery = 1'000'000'000;

} // namespace

Upstream::Upstream(const config::Upstream& settings, ServerSet& servers, shm::Regions& regions, shm::ProcessRow& row)
    : settings_(settings), regions_(regions), row_(row), random_(loop::clock_now() * 2 + 1)
{
    for (const config::UpstreamServer& server : settings.servers) {
        const int index = shm::find_server(regions.servers, settings.name, server.text);
        LADLE_ASSERT(index >= 0); // the master assigns every server before it hands out the bundle
        const auto at = static_cast<std::uint32_t>(index);
        // What is verified of a server is a part of what it is: kept connections of other settings are not used.
        std::string how = settings.tls ? '\0' + settings.tls->fingerprint : std::string();
        how += settings.protocol == config::UpstreamProtocol::h2 ? std::string_view("\0h2", 3) : std::string_view();
        shm::ServerEntry& entry = regions.servers.entries[at];
        members_.push_back({&server, &entry, servers.find(at, settings.name + '\0' + server.text + how),
                            entry.tenancy.load(std::memory_order_relaxed)});
    }
    make_turns();
}

/// Smooth weighted round robin (as nginx does it), unrolled once: 5,1,1 → a a b a c a a.
void Upstream::make_turns()
{
    orders_seen_ = regions_.servers.orders.load(std::memory_order_acquire);
    turns_.clear();
    std::vector<std::int64_t> weights;
    std::uint32_t divisor = 0;
    for (std::uint32_t at = 0; at < members_.size(); ++at) {
        divisor = std::gcd(divisor, weight_of(at));
    }
    for (std::uint32_t at = 0; at < members_.size(); ++at) {
        weights.push_back(weight_of(at) / std::max(divisor, 1u));
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

std::uint32_t Upstream::weight_of(std::uint32_t member) const noexcept
{
    const Member& one = members_[member];
    const std::uint32_t ordered = one.has_entry() ? one.entry->health.weight.load(std::memory_order_relaxed) : 0;
    return ordered != 0 ? ordered : one.settings->weight;
}

/// xorshift64: which of a million requests goes where is no secret.
std::uint32_t Upstream::random() noexcept
{
    random_ ^= random_ << 13;
    random_ ^= random_ >> 7;
    random_ ^= random_ << 17;
    return static_cast<std::uint32_t>(random_ >> 32);
}

bool Upstream::is_in_order(const Member& member, loop::Nanos now) const noexcept
{
    if (!member.has_entry()) {
        return true; // nothing is known of it any more
    }
    const shm::ServerHealth& health = member.entry->health;
    const loop::Nanos out_until = health.out_until_ns.load(std::memory_order_relaxed);
    if (out_until > now || health.verdict.load(std::memory_order_relaxed) == shm::Verdict::down ||
        health.order.load(std::memory_order_relaxed) != shm::ServerOrder::none) {
        return false;
    }
    // Back from an ejection it first has to answer one request well, alone; for so long, as what it has under way may be a tunnel.
    const bool is_on_trial = out_until != 0 && now - out_until < kTrial &&
                             health.failures_in_row.load(std::memory_order_relaxed) >= settings_.eject.failures;
    return !is_on_trial || shm::in_flight(regions_, member.server->index()) == 0;
}

/// Slow start: of a server that has just come back, whether it takes part in this choice.
bool Upstream::takes_part(const Member& member, loop::Nanos now) noexcept
{
    const loop::Nanos span = loop::to_nanos(settings_.slow_start);
    const shm::ServerHealth& health = member.entry->health;
    const loop::Nanos back =
        std::max(health.out_until_ns.load(std::memory_order_relaxed), health.back_ns.load(std::memory_order_relaxed));
    if (span == 0 || back == 0 || now - back >= span) {
        return true;
    }
    const std::uint64_t share = std::max<std::uint64_t>((now - back) * 100 / span, kLeastShare);
    return random() % 100 < share;
}

bool Upstream::is_usable(std::uint32_t member, const Search& search) noexcept
{
    const Member& one = members_[member];
    if (search.tried.has(member)) {
        return false;
    }
    switch (search.tier) {
    case Tier::normal:
        return !one.settings->is_backup && is_in_order(one, search.now) && takes_part(one, search.now);
    case Tier::starting:
        return !one.settings->is_backup && is_in_order(one, search.now);
    case Tier::backup:
        return one.settings->is_backup && is_in_order(one, search.now);
    case Tier::any:
        break;
    }
    return !one.has_entry() || one.entry->health.order.load(std::memory_order_relaxed) == shm::ServerOrder::none;
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

/// Requests in flight for its weight; kFull = no more.
std::uint64_t Upstream::load_of(std::uint32_t member) const noexcept
{
    const std::uint32_t most = members_[member].settings->max_conn;
    const std::uint32_t in_flight = count_in_flight(member);
    return most != 0 && in_flight >= most ? kFull : (std::uint64_t{in_flight} + 1) * 1'000'000 / weight_of(member);
}

Upstream::Choice Upstream::choose(const Tried& tried, loop::Nanos now, Purpose purpose)
{
    if (orders_seen_ != regions_.servers.orders.load(std::memory_order_acquire)) {
        make_turns();
    }
    const bool in_turn = settings_.balance == config::Balance::round_robin;
    // One order over all workers: the turn is counted in the first member's shared entry. Once for all tiers, or some members would
    // never come first.
    const std::uint64_t turn = in_turn ? members_.front().entry->turns.fetch_add(1, std::memory_order_relaxed) : ++offset_;
    Choice choice{Outcome::none_left, 0};
    for (const Tier tier : {Tier::normal, Tier::starting, Tier::backup, Tier::any}) {
        if (tier == Tier::any && !settings_.panics) {
            break;
        }
        const Search search{tried, now, tier, turn};
        choice = in_turn                           ? choose_round_robin(search)
                 : members_.size() > kMostCompared ? choose_of_two(search)
                                                   : choose_least_busy(search);
        const bool may_be_shy = tier == Tier::normal && choice.outcome == Outcome::all_full; // who is starting may have room
        if (choice.outcome != Outcome::none_left && !may_be_shy) {
            if (tier == Tier::any && tried.size() == 0 && purpose == Purpose::request) {
                row_.add(shm::Metric::server_panics);
            }
            break;
        }
    }
    return choice;
}

Upstream::Choice Upstream::choose_least_busy(const Search& search)
{
    Choice best{Outcome::none_left, 0};
    std::uint64_t best_load = kFull;
    for (std::size_t i = 0; i < members_.size(); ++i) {
        const auto at = static_cast<std::uint32_t>((i + search.turn) % members_.size());
        if (!is_usable(at, search)) {
            continue;
        }
        best.outcome = best.outcome == Outcome::none_left ? Outcome::all_full : best.outcome;
        if (const std::uint64_t load = load_of(at); load < best_load) {
            best = {Outcome::chosen, at};
            best_load = load;
        }
    }
    return best;
}

Upstream::Choice Upstream::choose_of_two(const Search& search)
{
    Choice best{Outcome::none_left, 0};
    std::uint64_t best_load = kFull;
    unsigned found = 0;
    for (unsigned draws = 0; draws < kMostDraws && found < 2; ++draws) {
        const std::uint32_t at = turns_[random() % turns_.size()];
        if ((best.outcome == Outcome::chosen && at == best.member) || !is_usable(at, search)) {
            continue;
        }
        // Its weight counted when it was drawn.
        const std::uint64_t load = is_full(at) ? kFull : count_in_flight(at);
        found += load != kFull ? 1 : 0;
        if (load < best_load) {
            best = {Outcome::chosen, at};
            best_load = load;
        }
    }
    return best.outcome == Outcome::chosen ? best : choose_least_busy(search);
}

Upstream::Choice Upstream::choose_round_robin(const Search& search)
{
    Choice best{Outcome::none_left, 0};
    for (std::size_t i = 0; i < turns_.size(); ++i) {
        const std::uint32_t at = turns_[(search.turn + i) % turns_.size()];
        if (!is_usable(at, search)) {
            continue;
        }
        if (!is_full(at)) {
            return {Outcome::chosen, at};
        }
        best.outcome = Outcome::all_full;
    }
    return best;
}

bool Upstream::has_other(const Tried& tried, loop::Nanos now) const noexcept
{
    if (has_queue()) {
        return false; // it would wait there for one of the others, and all behind it for this one
    }
    for (std::uint32_t at = 0; at < members_.size(); ++at) {
        if (!tried.has(at) && is_in_order(members_[at], now) && !is_full(at)) {
            return true;
        }
    }
    return false;
}

void Upstream::begin_request(std::uint32_t member) noexcept
{
    auto& cell = row_.in_flight[members_[member].server->index()];
    cell.store(cell.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
    if (members_[member].has_entry()) {
        members_[member].entry->requests.fetch_add(1, std::memory_order_relaxed);
    }
    if (members_.front().has_entry()) {
        members_.front().entry->health.asked.fetch_add(1, std::memory_order_relaxed);
    }
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

/// The bounds of what ejections may take away. Two workers that eject in the same instant may take one more.
bool Upstream::may_eject(std::uint32_t member, loop::Nanos now) const noexcept
{
    std::size_t out = 1;
    std::size_t all = 0;
    for (const Member& one : members_) {
        if (one.settings->is_backup == members_[member].settings->is_backup) {
            ++all;
            out += &one != &members_[member] && !is_in_order(one, now) ? 1 : 0;
        }
    }
    return out < all && out <= std::max<std::size_t>(all * settings_.eject.share / 100, settings_.eject.share > 0 ? 1 : 0);
}

bool Upstream::report_failure(std::uint32_t member, shm::ServerFailure failure, loop::Nanos now) noexcept
{
    if (!members_[member].has_entry()) {
        return false; // it would be another server's blame
    }
    const config::Ejection& rules = settings_.eject;
    shm::ServerEntry& entry = *members_[member].entry;
    shm::ServerHealth& health = entry.health;
    health.failures[static_cast<std::size_t>(failure)].fetch_add(1, std::memory_order_relaxed);
    if (rules.failures == 0) {
        return false;
    }
    loop::Nanos rest = 0;
    auto* times = &health.connect_failures; // how often in a row: the rest grows with it
    std::uint64_t until = health.out_until_ns.load(std::memory_order_relaxed);
    if (until > now) {
        return false; // what was under way fails as well: that is no news
    }
    if (failure == shm::ServerFailure::connect) {
        rest = std::min(kFirstRest << std::min(times->load(std::memory_order_relaxed), 10u), kLongestRest);
    } else {
        const std::uint32_t in_row = health.failures_in_row.fetch_add(1, std::memory_order_relaxed) + 1;
        const shm::Evidence evidence = shm::add_failure(health, entry.requests.load(std::memory_order_relaxed), rules.within, now);
        const bool is_convicted =
            in_row >= rules.failures || (evidence.failures >= rules.failures &&
                                         std::uint64_t{evidence.failures} * 100 >= std::uint64_t{rules.rate} * evidence.requests);
        if (!is_convicted || !may_eject(member, now)) {
            return false;
        }
        times = &health.ejections;
        const std::uint32_t factor = std::min(times->load(std::memory_order_relaxed) + 1, kMostTimes);
        rest = loop::to_nanos(std::min(rules.time * factor, rules.longest));
    }
    if (!health.out_until_ns.compare_exchange_strong(until, now + rest, std::memory_order_relaxed)) {
        return false; // another worker was quicker
    }
    health.out_for.store(static_cast<std::uint32_t>(failure), std::memory_order_relaxed);
    health.out_since_ns.store(now, std::memory_order_relaxed);
    times->fetch_add(1, std::memory_order_relaxed);
    health.ejected.fetch_add(1, std::memory_order_relaxed);
    row_.add(shm::Metric::server_ejections);
    return true;
}

void Upstream::report_connected(std::uint32_t member) noexcept
{
    shm::ServerHealth& health = members_[member].entry->health;
    if (!members_[member].has_entry() || health.connect_failures.load(std::memory_order_relaxed) == 0) {
        return;
    }
    health.connect_failures.store(0, std::memory_order_relaxed);
    if (health.out_for.load(std::memory_order_relaxed) == static_cast<std::uint32_t>(shm::ServerFailure::connect)) {
        health.out_until_ns.store(0, std::memory_order_relaxed);
    }
}

void Upstream::report_success(std::uint32_t member, loop::Nanos time, loop::Nanos now) noexcept
{
    if (!members_[member].has_entry()) {
        return;
    }
    shm::ServerHealth& health = members_[member].entry->health;
    shm::add_latency(health, std::chrono::nanoseconds(time));
    const std::uint64_t until = health.out_until_ns.load(std::memory_order_relaxed);
    if (until > now) {
        return; // what it began to answer before it was ejected is no news
    }
    if (health.failures_in_row.load(std::memory_order_relaxed) != 0) {
        health.failures_in_row.store(0, std::memory_order_relaxed);
    }
    // It grows no shorter before it has been good for as long as an ejection takes: else one that comes and goes would never rest.
    if (health.ejections.load(std::memory_order_relaxed) != 0 && now - until > loop::to_nanos(settings_.eject.time)) {
        health.ejections.store(0, std::memory_order_relaxed);
    }
}

std::uint64_t Upstream::count_requests() const noexcept
{
    return members_.front().entry->health.asked.load(std::memory_order_relaxed);
}

bool Upstream::take_retry(loop::Nanos now) noexcept
{
    // An old configuration's last requests, whose budget is gone, may: they are few.
    const bool may = !members_.front().has_entry() ||
                     shm::take_retry(members_.front().entry->health.retries, count_requests(), settings_.retry.budget, now);
    row_.add(may ? shm::Metric::server_retries_budgeted : shm::Metric::server_retries_refused);
    return may;
}

void Upstream::settle_budget(loop::Nanos now) noexcept
{
    if (now >= next_settling_ && members_.front().has_entry()) {
        next_settling_ = now + kSettleEvery;
        shm::settle_retries(members_.front().entry->health.retries, count_requests(), now);
    }
}

} // namespace ladle::worker
