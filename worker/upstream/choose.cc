// SPDX-License-Identifier: Apache-2.0
//
// The choice among an upstream's servers: who may be chosen, and the methods.
#include "worker/upstream/upstream.h"

#include "common/shm/server_agent.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <numeric>
#include <queue>
#include <utility>

namespace ladle::worker {

namespace {

constexpr std::uint32_t kMostTurns = 4096;
constexpr std::size_t kFewMembers = 32;
constexpr std::uint64_t kLeastShare = 10; // percent, at the beginning of a slow start
constexpr unsigned kMostDraws = 8;        // for two that differ, before one will do
constexpr unsigned kMostSlots = 32;       // of a key, likewise
constexpr std::size_t kMostTurnsLooked = 64; // for an idle one
constexpr loop::Nanos kTrial = 5'000'000'000;
constexpr std::uint64_t kLeastTime = 1'000'000; // least_busy: below it servers are equally quick
constexpr std::uint64_t kOnce = 16;             // the unit of slowness()
constexpr std::uint64_t kMostTimes = 64;        // that a server counts as slower
constexpr loop::Nanos kAgentsEvery = 100'000'000;  // as often as the caretaker publishes what they say
constexpr loop::Nanos kLoadsEvery = 1'000'000'000; // as Envoy does: they change with every response
constexpr double kMostFactor = 10;                 // that a server may be told from the middle one by its reports
constexpr std::uint64_t kCostUnit = 1'000'000'000; // by weights of up to 256 millions; times 1024, and 2^24 in flight
constexpr std::uint64_t kUnknown = std::numeric_limits<std::uint64_t>::max();

/// Where a key goes when its first slots are of no use, and which part of a slow start it belongs to (splitmix64).
std::uint64_t mix(std::uint64_t key, std::uint64_t round) noexcept
{
    std::uint64_t z = key + round * 0x9E3779B97F4A7C15;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9;
    z = (z ^ z >> 27) * 0x94D049BB133111EB;
    return z ^ z >> 31;
}

/// How much slower than the quickest (kUnknown = nobody's time is known). What is less than twice as slow may be chance, or other
/// requests: it is as quick.
std::uint64_t slowness(std::uint64_t time, std::uint64_t quickest) noexcept
{
    return time == 0 || time / 2 < quickest ? kOnce : std::min(time * kOnce / quickest, kMostTimes * kOnce);
}

/// The first of so many places whose member may be chosen and has room.
template <typename Place, typename IsUsable, typename HasRoom>
Upstream::Choice first_of(std::size_t places, Place place, IsUsable is_usable, HasRoom has_room)
{
    Upstream::Choice best{Upstream::Outcome::none_left, 0};
    for (std::size_t i = 0; i < places; ++i) {
        const std::uint32_t at = place(i);
        if (!is_usable(at)) {
            continue;
        }
        if (has_room(at)) {
            return {Upstream::Outcome::chosen, at};
        }
        best.outcome = Upstream::Outcome::all_full;
    }
    return best;
}

/// As nginx does it: 5,1,1 → a a b a c a a. Looks at all for each turn.
std::vector<std::uint32_t> turns_of_few(const std::vector<std::int64_t>& weights, std::int64_t total, std::size_t count)
{
    std::vector<std::uint32_t> turns;
    std::vector<std::int64_t> current(weights.size(), 0);
    while (turns.size() < count) {
        for (std::size_t i = 0; i < current.size(); ++i) {
            current[i] += weights[i];
        }
        const auto best = static_cast<std::size_t>(std::max_element(current.begin(), current.end()) - current.begin());
        current[best] -= total;
        turns.push_back(static_cast<std::uint32_t>(best));
    }
    return turns;
}

/// By deadlines: the nth turn of a server is due at (n - 1/2) / weight. As smooth, and for a thousand in 0.5 ms instead of ten.
std::vector<std::uint32_t> turns_of_many(const std::vector<std::int64_t>& weights, std::size_t count)
{
    using Due = std::pair<double, std::uint32_t>;
    std::priority_queue<Due, std::vector<Due>, std::greater<>> due;
    for (std::uint32_t at = 0; at < weights.size(); ++at) {
        due.emplace(0.5 / static_cast<double>(weights[at]), at);
    }
    std::vector<std::uint32_t> turns;
    while (turns.size() < count) {
        const auto [when, at] = due.top();
        due.pop();
        due.emplace(when + 1 / static_cast<double>(weights[at]), at);
        turns.push_back(at);
    }
    return turns;
}

} // namespace

/// Smooth weighted round robin, unrolled once.
void Upstream::make_turns()
{
    std::uint32_t divisor = 0;
    for (const std::uint32_t weight : weights_) {
        divisor = std::gcd(divisor, weight);
    }
    std::vector<std::int64_t> weights;
    for (const std::uint32_t weight : weights_) {
        weights.push_back(weight / divisor);
    }
    const std::int64_t total = std::accumulate(weights.begin(), weights.end(), std::int64_t{0});
    const auto count = static_cast<std::size_t>(std::min<std::int64_t>(total, kMostTurns));
    turns_ = weights.size() <= kFewMembers ? turns_of_few(weights, total, count) : turns_of_many(weights, count);
    std::vector<bool> has_turn(members_.size());
    for (const std::uint32_t member : turns_) {
        has_turn[member] = true;
    }
    for (std::uint32_t at = 0; at < members_.size(); ++at) { // the lightest of many may have none of them: it is still there
        if (!has_turn[at]) {
            turns_.push_back(at);
        }
    }
}

/// What its agent has said; nothing for a server that is not in the table any more.
std::uint64_t Upstream::agent_of(const Member& member) const noexcept
{
    return settings_.agent && member.has_entry() ? member.entry->health.agent.load(std::memory_order_relaxed) : 0;
}

/// What its responses say that it can do, where that counts.
std::optional<double> Upstream::capacity_of(const Member& member, loop::Nanos now) const noexcept
{
    return settings_.load_report && member.has_entry()
               ? shm::read_load(member.entry->health, load_times(*settings_.load_report), now)
               : std::nullopt;
}

/// The capacity in the middle of those that are reported. Not their mean: one server that says nonsense would move it.
std::optional<double> Upstream::middle_capacity(loop::Nanos now) const
{
    if (!settings_.load_report) {
        return std::nullopt;
    }
    std::vector<double> all;
    for (const Member& member : members_) {
        if (const auto capacity = capacity_of(member, now)) {
            all.push_back(*capacity);
        }
    }
    if (all.empty()) {
        return std::nullopt;
    }
    std::sort(all.begin(), all.end());
    return all[(all.size() - 1) / 2]; // of two the lower one: what a single server makes up must not move what it is measured by
}

std::uint32_t Upstream::share_of(std::uint32_t member, std::optional<double> middle, loop::Nanos now) const noexcept
{
    const Member& one = members_[member];
    const std::uint32_t percent = shm::agent_percent(agent_of(one));
    const auto capacity = middle ? capacity_of(one, now) : std::nullopt;
    const double factor = capacity ? std::clamp(*capacity / *middle, 1 / kMostFactor, kMostFactor) : 1;
    return static_cast<std::uint32_t>(std::lround(percent * factor));
}

std::uint32_t Upstream::share_of(std::uint32_t member, loop::Nanos now) const
{
    return settings_.balance == config::Balance::hash ? 100 : share_of(member, middle_capacity(now), now);
}

/// Makes the weights that count, and the turns where they have changed.
void Upstream::renew_shares(loop::Nanos now)
{
    const bool is_scaled = settings_.agent || settings_.load_report;
    next_shares_ = !is_scaled ? loop::kNever : now + (settings_.load_report ? kLoadsEvery : kAgentsEvery);
    const std::optional<double> middle = middle_capacity(now);
    bool has_changed = weights_.size() != members_.size();
    weights_.resize(members_.size());
    for (std::uint32_t at = 0; at < members_.size(); ++at) {
        // Not 0: with every server out, one of which its agent says 0% may be tried.
        const std::uint32_t weight = weight_of(at) * (is_scaled ? std::max(share_of(at, middle, now), 1u) : 1u);
        has_changed |= std::exchange(weights_[at], weight) != weight;
    }
    if (has_changed) {
        make_turns();
    }
}

/// After the operator has changed something, and at first.
void Upstream::follow_orders(loop::Nanos now)
{
    orders_seen_ = regions_.servers.orders.load(std::memory_order_acquire);
    renew_shares(now);
    make_tables();
}

/// The keys' tables. An order that takes a server out changes none: its keys go on to others, and come back.
void Upstream::make_tables()
{
    if (settings_.balance != config::Balance::hash) {
        return;
    }
    for (const bool of_backups : {false, true}) {
        std::vector<Maglev::Entry> entries;
        for (std::uint32_t at = 0; at < members_.size(); ++at) {
            if (members_[at].settings->is_backup == of_backups) {
                entries.push_back({members_[at].settings->text, weight_of(at), static_cast<std::uint16_t>(at)});
            }
        }
        tables_[of_backups ? 1 : 0] = Maglev(entries);
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

/// The operator's or its agent's, whichever is graver; none for a server that is not in the table any more.
shm::ServerOrder Upstream::order_of(const Member& member) const noexcept
{
    const shm::ServerOrder ordered =
        member.has_entry() ? member.entry->health.order.load(std::memory_order_relaxed) : shm::ServerOrder::none;
    return std::max(ordered, shm::agent_order(agent_of(member)));
}

/// As far as checks, its agent and requests know.
bool Upstream::works(const Member& member, loop::Nanos now) const noexcept
{
    if (!member.has_entry()) {
        return true; // nothing is known of it any more
    }
    const shm::ServerHealth& health = member.entry->health;
    if (health.out_until_ns.load(std::memory_order_relaxed) > now ||
        health.verdict.load(std::memory_order_relaxed) == shm::Verdict::down ||
        shm::agent_state(agent_of(member)) != shm::AgentState::up) {
        return false;
    }
    return !is_on_trial(member, now) || shm::in_flight(regions_, member.server->index()) == 0;
}

/// Back from an ejection it first has to answer one request well, alone; for so long, as what it has under way may be a tunnel. For
/// slowness see slowness.cc.
bool Upstream::is_on_trial(const Member& member, loop::Nanos now) const noexcept
{
    const shm::ServerHealth& health = member.entry->health;
    const loop::Nanos out_until = health.out_until_ns.load(std::memory_order_relaxed);
    if (out_until == 0 || out_until > now) {
        return false;
    }
    const std::uint32_t failures = settings_.eject.failures;
    return (now - out_until < kTrial && failures != 0 && health.failures_in_row.load(std::memory_order_relaxed) >= failures) ||
           (is_on_slow_trial(health) && now - out_until < time_of_slow_trial(health));
}

bool Upstream::is_in_order(const Member& member, loop::Nanos now) const noexcept
{
    return order_of(member) == shm::ServerOrder::none && shm::agent_percent(agent_of(member)) != 0 && works(member, now);
}

bool Upstream::keeps_clients(std::uint32_t member, loop::Nanos now) const noexcept
{
    const Member& one = members_[member];
    return order_of(one) != shm::ServerOrder::down && works(one, now);
}

/// Slow start: of a server that has just come back, whether it takes part in this choice. Keys come back one after the other, and
/// those that have come stay.
bool Upstream::takes_part(const Member& member, const Search& search) noexcept
{
    const loop::Nanos span = loop::to_nanos(settings_.slow_start);
    const shm::ServerHealth& health = member.entry->health;
    const loop::Nanos back =
        std::max(health.out_until_ns.load(std::memory_order_relaxed), health.back_ns.load(std::memory_order_relaxed));
    if (span == 0 || back == 0 || search.now - back >= span) {
        return true;
    }
    const std::uint64_t share = std::max<std::uint64_t>((search.now - back) * 100 / span, kLeastShare);
    return (search.key ? mix(*search.key, kMostSlots) : random()) % 100 < share;
}

bool Upstream::is_usable(std::uint32_t member, const Search& search) noexcept
{
    const Member& one = members_[member];
    if (search.tried.has(member)) {
        return false;
    }
    switch (search.tier) {
    case Tier::normal:
        return !one.settings->is_backup && is_in_order(one, search.now) && takes_part(one, search);
    case Tier::starting:
        return !one.settings->is_backup && is_in_order(one, search.now);
    case Tier::backup:
        return one.settings->is_backup && is_in_order(one, search.now);
    case Tier::any:
        break;
    }
    return order_of(one) == shm::ServerOrder::none;
}

/// The requests that it may have in flight; 0 = no limit.
std::uint32_t Upstream::most_of(const Member& member) const noexcept
{
    return shm::agent_max_conn(agent_of(member), member.settings->max_conn);
}

/// Requests in flight, of all workers; kFull = no more.
std::uint32_t Upstream::load_of(std::uint32_t member) const noexcept
{
    const std::uint32_t in_flight = shm::in_flight(regions_, members_[member].server->index());
    return room_of(members_[member], in_flight) == 0 ? kFull : in_flight;
}

Upstream::Choice Upstream::choose(const Tried& tried, loop::Nanos now, const Preference& preference, Purpose purpose)
{
    if (orders_seen_ != regions_.servers.orders.load(std::memory_order_acquire)) {
        follow_orders(now);
    } else if (now >= next_shares_) {
        renew_shares(now);
    }
    if (const auto kept = preference.member;
        kept && !tried.has(*kept) && keeps_clients(*kept, now) && load_of(*kept) != kFull) {
        return {Outcome::chosen, *kept};
    }
    const config::Balance method = settings_.balance == config::Balance::hash && !preference.key ? config::Balance::least_busy
                                                                                                 : settings_.balance;
    // One order over all workers: the turn is counted in the first member's shared entry. Once for all tiers, or some members would
    // never come first.
    const std::uint64_t turn = method == config::Balance::round_robin
                                   ? members_.front().entry->turns.fetch_add(1, std::memory_order_relaxed)
                                   : ++offset_;
    Choice choice{Outcome::none_left, 0};
    for (const Tier tier : {Tier::normal, Tier::starting, Tier::backup, Tier::any}) {
        if (tier == Tier::any && (!settings_.panics || purpose == Purpose::copy)) {
            break;
        }
        const Search search{tried, now, tier, turn, method == config::Balance::hash ? preference.key : std::nullopt, purpose};
        choice = choose_in(method, search);
        const bool may_be_shy = tier == Tier::normal && choice.outcome == Outcome::all_full; // who is starting may have room
        if (choice.outcome != Outcome::none_left && !may_be_shy) {
            if (tier == Tier::any && tried.size() == 0 && purpose == Purpose::request) {
                row_.add(shm::Metric::server_panics);
            }
            choice.is_panic = tier == Tier::any;
            if (tier == Tier::any && preference.member && choice.outcome == Outcome::chosen &&
                is_usable(*preference.member, search) && load_of(*preference.member) != kFull) {
                choice.member = *preference.member; // as good as any other, and its client is known there
            }
            break;
        }
    }
    return choice;
}

Upstream::Choice Upstream::choose_in(config::Balance method, const Search& search)
{
    switch (method) {
    case config::Balance::round_robin:
        return choose_round_robin(search);
    case config::Balance::first:
        return choose_next(0, search);
    case config::Balance::hash:
        return choose_by_hash(search);
    case config::Balance::random:
    case config::Balance::latency:
        return choose_of_two(method, search);
    case config::Balance::least_busy:
        break;
    }
    return members_.size() > kMostCompared ? choose_of_two(method, search) : choose_least_busy(search);
}

/// What the method looks at.
Upstream::Candidate Upstream::candidate(config::Balance method, std::uint32_t member, loop::Nanos now) const noexcept
{
    Candidate one{member, load_of(member), weights_[member], {}};
    if (members_[member].has_entry() && method != config::Balance::random) {
        const shm::ServerHealth& health = members_[member].entry->health;
        one.pace = method == config::Balance::latency ? shm::peak_pace(health, now) : shm::typical_pace(health, now);
    }
    return one;
}

/// How busy, for its weight and its slowness. What is idle and quick costs nothing, whatever its weight: else a heavier one would
/// get all that comes one at a time.
std::uint64_t Upstream::cost_of(const Candidate& one, std::uint64_t slowness) noexcept
{
    return one.load == 0 && slowness == kOnce ? 0 : (std::uint64_t{one.load} + 1) * slowness * kCostUnit / one.weight;
}

Upstream::Choice Upstream::choose_least_busy(const Search& search)
{
    Choice best{Outcome::none_left, 0};
    candidates_.clear();
    std::int64_t least_idle = shm::Pace{}.idle;
    for (std::size_t i = 0; i < members_.size(); ++i) {
        const auto at = static_cast<std::uint32_t>((i + search.turn) % members_.size());
        if (!is_usable(at, search)) {
            continue;
        }
        best.outcome = Outcome::all_full;
        const Candidate one = candidate(config::Balance::least_busy, at, search.now);
        if (one.load != kFull) {
            candidates_.push_back(one);
            least_idle = std::min(least_idle, one.pace.idle);
        }
    }
    const auto time_of = [least_idle](const Candidate& one) {
        return one.pace.is_known() ? std::max(shm::time_of(one.pace, least_idle), kLeastTime) : 0;
    };
    std::uint64_t quickest = kUnknown;
    for (const Candidate& one : candidates_) {
        if (one.pace.is_known() && !shm::is_forgiven(one.pace, least_idle)) {
            quickest = std::min(quickest, time_of(one));
        }
    }
    std::uint64_t least = kUnknown;
    std::size_t idle = 0;
    for (Candidate& one : candidates_) {
        one.cost = cost_of(one, slowness(time_of(one), quickest));
        idle += one.cost == 0 ? 1 : 0;
        if (one.cost < least) {
            best = {Outcome::chosen, one.member};
            least = one.cost;
        }
    }
    return idle > 1 ? Choice{Outcome::chosen, next_idle(search.turn, best.member)} : best;
}

/// Of several candidates that cost nothing the one whose turn it is, by weight.
std::uint32_t Upstream::next_idle(std::uint64_t turn, std::uint32_t fallback) const noexcept
{
    for (std::size_t i = 0; i < std::min<std::size_t>(turns_.size(), kMostTurnsLooked); ++i) {
        const std::uint32_t member = turns_[(turn + i) % turns_.size()];
        for (const Candidate& one : candidates_) {
            if (one.member == member && one.cost == 0) {
                return member;
            }
        }
    }
    return fallback;
}

/// Whether the second of two that were drawn is to be preferred. Where both are idle their weights counted when they were drawn.
bool Upstream::is_better(config::Balance method, const Candidate& second, const Candidate& first) noexcept
{
    const std::int64_t least_idle = std::min(first.pace.idle, second.pace.idle);
    std::uint64_t times[] = {shm::time_of(first.pace, least_idle), shm::time_of(second.pace, least_idle)};
    const bool are_forgiven[] = {shm::is_forgiven(first.pace, least_idle), shm::is_forgiven(second.pace, least_idle)};
    for (const unsigned one : {0u, 1u}) {
        if (times[one] == 0 || (are_forgiven[one] && first.pace.is_known() && second.pace.is_known())) {
            times[one] = std::max(times[one], times[1 - one]); // untried, or not asked for long: as quick as the other at best
        }
    }
    const bool are_idle = first.load == 0 && second.load == 0;
    if (method == config::Balance::latency) {
        const auto cost = [&](const Candidate& one, std::uint64_t time) {
            return are_idle ? time : (std::uint64_t{one.load} + 1) * std::max<std::uint64_t>(time, 1) * 16 / one.weight;
        };
        return cost(second, times[1]) < cost(first, times[0]);
    }
    const std::uint64_t quickest = std::max(std::min(times[0], times[1]), kLeastTime);
    return cost_of(second, slowness(times[1], quickest)) < cost_of(first, slowness(times[0], quickest));
}

Upstream::Choice Upstream::choose_of_two(config::Balance method, const Search& search)
{
    Candidate best;
    unsigned found = 0;
    std::size_t place = random() % turns_.size();
    for (unsigned draws = 0; draws < kMostDraws && found < 2; ++draws) {
        const std::uint32_t at = turns_[place];
        const bool is_drawn = found != 0 && at == best.member;
        place = is_drawn ? (place + 1) % turns_.size() : random() % turns_.size(); // of two the other one stands beside it
        if (is_drawn || !is_usable(at, search)) {
            continue;
        }
        const Candidate one = candidate(method, at, search.now);
        if (one.load != kFull && (++found == 1 || is_better(method, one, best))) {
            best = one;
        }
    }
    return found != 0 ? Choice{Outcome::chosen, best.member} : choose_least_busy(search);
}

/// In turn. Where some are passed over the order goes on behind the one that is chosen, for all workers: else who stands behind one
/// that is out would get the requests of both.
Upstream::Choice Upstream::choose_round_robin(const Search& search)
{
    std::size_t passed = 0;
    const Choice choice = first_of(
        turns_.size(), [&](std::size_t i) { return turns_[(search.turn + (passed = i)) % turns_.size()]; },
        [&](std::uint32_t at) { return is_usable(at, search); }, [&](std::uint32_t at) { return load_of(at) != kFull; });
    if (choice.outcome == Outcome::chosen && passed != 0 && search.purpose != Purpose::explanation) {
        members_.front().entry->turns.fetch_add(passed, std::memory_order_relaxed);
    }
    return choice;
}

/// From member `begin` on, in the file's order.
Upstream::Choice Upstream::choose_next(std::uint32_t begin, const Search& search)
{
    return first_of(
        members_.size(), [&](std::size_t i) { return static_cast<std::uint32_t>((begin + i) % members_.size()); },
        [&](std::uint32_t at) { return is_usable(at, search); }, [&](std::uint32_t at) { return load_of(at) != kFull; });
}

Upstream::Choice Upstream::choose_by_hash(const Search& search)
{
    const bool asks_backups = search.tier == Tier::backup || tables_[0].is_empty();
    const Maglev& table = tables_[asks_backups ? 1 : 0];
    if (table.is_empty()) {
        return {Outcome::none_left, 0};
    }
    for (unsigned round = 0; round < kMostSlots; ++round) {
        const std::uint32_t at = table.find(mix(*search.key, round));
        if (is_usable(at, search) && load_of(at) != kFull) {
            return {Outcome::chosen, at};
        }
    }
    return choose_next(static_cast<std::uint32_t>(*search.key % members_.size()), search);
}

} // namespace ladle::worker
