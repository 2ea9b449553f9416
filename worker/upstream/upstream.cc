// SPDX-License-Identifier: Apache-2.0
#include "worker/upstream/upstream.h"

#include "common/base/assert.h"
#include "common/os/log.h"
#include "common/shm/server_agent.h"
#include "worker/tls/sticky_value.h"

#include <algorithm>

namespace ladle::worker {

namespace {

constexpr std::uint64_t kFirstRest = 1'000'000'000;
constexpr std::uint64_t kLongestRest = 10'000'000'000;
constexpr std::uint32_t kMostGrowth = 1000; // that an ejection grows
constexpr loop::Nanos kSettleEvery = 1'000'000'000;
constexpr std::chrono::milliseconds kLook{1};
constexpr std::uint32_t kMostAtOnce = 256;  // of those that wait, that look for a place in one turn
constexpr loop::Nanos kAlive = 500'000'000; // since a worker's heartbeat, which comes every 100 ms

} // namespace

Upstream::Upstream(const config::Upstream& settings, ServerSet& servers, shm::Regions& regions, shm::ProcessRow& row)
    : settings_(settings), regions_(regions), row_(row), loop_(servers.loop()),
      random_((regions.header.seed ^ static_cast<std::uint64_t>(&row - regions.rows + 1) * 0x9E3779B97F4A7C15) | 1)
{
    for (const config::UpstreamServer& server : settings.servers) {
        const int index = shm::find_server(regions.servers, settings.name, server.text);
        LADLE_ASSERT(index >= 0); // the master assigns every server before it hands out the bundle
        const auto at = static_cast<std::uint32_t>(index);
        // What is verified of a server is a part of what it is: kept connections of other settings are not used.
        std::string how = settings.tls ? '\0' + settings.tls->fingerprint : std::string();
        how += settings.protocol == config::UpstreamProtocol::h2 ? std::string_view("\0h2", 3) : std::string_view();
        shm::ServerEntry& entry = regions.servers.entries[at];
        const bool is_sticky = !settings.sticky_cookie.empty();
        members_.push_back({&server, &entry, servers.find(at, settings.name + '\0' + server.text + how),
                            entry.tenancy.load(std::memory_order_relaxed),
                            is_sticky ? sticky_value(regions.sticky, settings.name, server.text) : std::string()});
    }
    for (std::uint32_t at = 0; at < members_.size(); ++at) {
        if (!members_[at].sticky.empty()) {
            sticky_.emplace(members_[at].sticky, at);
        }
    }
    follow_orders(0);
    follow_wall_clock();
    if (settings.hedge.percent != 0) {
        // From the first request on: of what came before the first settling nobody knows when it was.
        shm::settle_hedges(members_.front().entry->health.hedges, count_requests(), loop::clock_now());
        look_at_times();
    }
    candidates_.reserve(members_.size());
    typical_times_.reserve(settings.eject.slow != 0 ? std::min(members_.size(), kMostBeside) : 0);
    differences_.reserve(typical_times_.capacity());
    has_limits_ = settings.agent || settings.adaptive ||
                  std::ranges::any_of(settings.servers, [](const auto& server) { return server.max_conn != 0; });
}

std::optional<std::uint32_t> Upstream::find_sticky(std::string_view value) const noexcept
{
    const auto found = sticky_.find(value);
    return found == sticky_.end() ? std::nullopt : std::optional(found->second);
}

bool Upstream::has_other(const Tried& tried, loop::Nanos now, Backups backups) const noexcept
{
    if (has_limits_ && (queued_ != 0 || count_before(0, now) != 0)) {
        return false; // it would wait there for one of the others, and all behind it for this one
    }
    for (std::uint32_t at = 0; at < members_.size(); ++at) {
        const bool is_meant = backups == Backups::too || !members_[at].settings->is_backup;
        if (is_meant && !tried.has(at) && is_in_order(members_[at], now) && load_of(at) != kFull) {
            return true;
        }
    }
    return false;
}

void Upstream::begin_request(std::uint32_t member) noexcept
{
    auto& cell = row_.in_flight[members_[member].server->index()];
    cell.store(cell.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
    if (settings_.adaptive) {
        auto& unanswered = row_.unanswered[members_[member].server->index()];
        unanswered.store(unanswered.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
    }
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

Lease Upstream::take(const Choice& choice, loop::Nanos now) noexcept
{
    const Member& one = members_[choice.member];
    if (!one.has_entry()) {
        return {*this, choice.member};
    }
    const bool is_trial = !choice.is_panic && is_on_trial(one, now);
    if (!is_trial && !settings_.adaptive && most_of(one) == 0) {
        return {*this, choice.member};
    }
    const shm::ServerGate gate(*one.entry, number_of_row());
    const std::uint32_t in_flight = shm::in_flight(regions_, one.server->index());
    if (!gate || room_of(one, in_flight) == 0 || (is_trial && in_flight != 0)) {
        return {};
    }
    begin_request(choice.member);
    if (settings_.adaptive) {
        shm::note_unanswered(one.entry->limit, shm::unanswered(regions_, one.server->index()));
    }
    return {*this, choice.member, Lease::Begun::yes};
}

bool Upstream::enqueue(QueuePlace& place) noexcept
{
    if (queued_ >= settings_.queue_size) {
        return false;
    }
    if (queued_++ == 0 && !look_.start(loop_, kLook, loop::Timer::Repeat::every, &Upstream::on_look, this)) {
        os::log(os::Level::error, "no timer for the requests that wait for a server", {}); // they look at each tick of the loop
    }
    row_.add(shm::Metric::server_queue);
    std::atomic<std::uint32_t>& tickets = members_.front().entry->tickets;
    do {
        place.ticket = tickets.fetch_add(1, std::memory_order_relaxed);
    } while (place.ticket == 0);
    place.insert_before(queue_);
    show_oldest();
    return true;
}

void Upstream::leave_queue(QueuePlace& place) noexcept
{
    place.unlink();
    if (--queued_ == 0) {
        look_.stop();
    }
    row_.subtract(shm::Metric::server_queue);
    show_oldest();
}

/// To the other workers.
void Upstream::show_oldest() noexcept
{
    if (!members_.front().has_entry()) {
        return;
    }
    const std::uint32_t ticket = queue_.is_linked() ? static_cast<QueuePlace*>(queue_.next)->ticket : 0;
    row_.waiting[members_.front().server->index()].store(ticket, std::memory_order_relaxed);
}

/// Other workers that are alive and have somebody who has waited for longer. Ticket 0 is behind all.
std::uint32_t Upstream::count_before(std::uint32_t ticket, loop::Nanos now) const noexcept
{
    if (!members_.front().has_entry()) {
        return 0; // an old configuration's queue, whose place in the rows may be another upstream's now
    }
    const std::uint32_t index = members_.front().server->index();
    const std::uint32_t end = shm::rows_end(regions_);
    std::uint32_t count = 0;
    for (std::uint32_t i = 0; i < end; ++i) {
        const shm::ProcessRow& row = regions_.rows[i];
        const std::uint32_t other = row.waiting[index].load(std::memory_order_relaxed);
        const bool is_earlier = other != 0 && (ticket == 0 || static_cast<std::int32_t>(other - ticket) < 0);
        if (is_earlier && &row != &row_ && row.pid.load(std::memory_order_relaxed) != 0 &&
            row.heartbeat_ns.load(std::memory_order_relaxed) + kAlive > now) {
            ++count;
        }
    }
    return count;
}

/// How many requests could be sent somewhere now, counted up to `most`.
std::uint32_t Upstream::count_free(const Tried& tried, std::uint32_t most, loop::Nanos now) const noexcept
{
    std::uint32_t free = 0;
    for (std::uint32_t at = 0; at < members_.size() && free < most; ++at) {
        const Member& one = members_[at];
        if (tried.has(at) || !is_in_order(one, now)) {
            continue;
        }
        const std::uint32_t room = room_of(one, shm::in_flight(regions_, one.server->index()));
        free += std::min(most - free, room);
    }
    return free;
}

bool Upstream::has_turn(const QueuePlace& place, const Tried& tried, loop::Nanos now) const noexcept
{
    if (!has_limits_) {
        return true;
    }
    std::uint32_t before = count_before(place.is_linked() ? place.ticket : 0, now);
    if (!place.is_linked() && queued_ != 0) {
        return false;
    }
    for (const loop::Link* at = &place; place.is_linked() && at->previous != &queue_ && before < kMostAtOnce; at = at->previous) {
        ++before;
    }
    return before == 0 || (before < kMostAtOnce && count_free(tried, before + 1, now) > before);
}

bool Upstream::may_pass(const Preference& preference, const Tried& tried, loop::Nanos now) const noexcept
{
    return preference.member && !tried.has(*preference.member) && !is_in_order(members_[*preference.member], now) &&
           keeps_clients(*preference.member, now) && load_of(*preference.member) != kFull;
}

void Upstream::on_look(void* self)
{
    static_cast<Upstream*>(self)->stir_queue();
}

void Upstream::stir_queue() noexcept
{
    if (!queue_.is_linked()) {
        return;
    }
    std::uint32_t free = std::max(count_free({}, std::min(queued_, kMostAtOnce), loop_.now()), 1u);
    for (loop::Link* at = queue_.next; at != &queue_ && free > 0; at = at->next, --free) {
        static_cast<QueuePlace*>(at)->wake->kick_later();
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

/// For as long as it is its turn. False where another worker was quicker.
bool Upstream::eject(shm::ServerHealth& health, std::uint64_t until_seen, std::uint32_t why, loop::Nanos now) noexcept
{
    const config::Ejection& rules = settings_.eject;
    const std::uint32_t factor = std::min(health.ejections.load(std::memory_order_relaxed) + 1, kMostGrowth);
    if (!set_out(health, until_seen, now + loop::to_nanos(std::min(rules.time * factor, rules.longest)), why, now)) {
        return false;
    }
    health.ejections.fetch_add(1, std::memory_order_relaxed);
    return true;
}

bool Upstream::set_out(shm::ServerHealth& health, std::uint64_t until_seen, std::uint64_t until, std::uint32_t why,
                       loop::Nanos now) noexcept
{
    if (!health.out_until_ns.compare_exchange_strong(until_seen, until, std::memory_order_relaxed)) {
        return false;
    }
    health.out_for.store(why, std::memory_order_relaxed);
    health.out_since_ns.store(now, std::memory_order_relaxed);
    health.ejected.fetch_add(1, std::memory_order_relaxed);
    row_.add(shm::Metric::server_ejections);
    return true;
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
    shm::add_failed_pace(health, now);
    if (failure == shm::ServerFailure::timeout || failure == shm::ServerFailure::bad_status) {
        report_overload(member, now);
    }
    if (rules.failures == 0) {
        return false;
    }
    const std::uint64_t until = health.out_until_ns.load(std::memory_order_relaxed);
    if (until > now) {
        return false; // what was under way fails as well: that is no news
    }
    const auto why = static_cast<std::uint32_t>(failure);
    if (failure == shm::ServerFailure::connect) {
        const std::uint32_t doublings = std::min(health.connect_failures.load(std::memory_order_relaxed), 10u);
        const bool is_out = set_out(health, until, now + std::min(kFirstRest << doublings, kLongestRest), why, now);
        health.connect_failures.fetch_add(is_out ? 1 : 0, std::memory_order_relaxed);
        return is_out;
    }
    const std::uint32_t in_row = health.failures_in_row.fetch_add(1, std::memory_order_relaxed) + 1;
    const shm::Evidence evidence = shm::add_failure(health, entry.requests.load(std::memory_order_relaxed), rules.within, now);
    const bool is_convicted =
        in_row >= rules.failures || is_on_slow_trial(health) || (evidence.failures >= rules.failures &&
                                     std::uint64_t{evidence.failures} * 100 >= std::uint64_t{rules.rate} * evidence.requests);
    if (!is_convicted || !may_eject(member, now)) {
        return false;
    }
    if (in_row < rules.failures) {
        health.failures_in_row.store(rules.failures,
                                     std::memory_order_relaxed); // convicted by rate: its return is a trial as well
    }
    return eject(health, until, why, now);
}

void Upstream::report_connected(std::uint32_t member) noexcept
{
    shm::ServerHealth& health = members_[member].entry->health;
    if (!members_[member].has_entry() || health.connect_failures.load(std::memory_order_relaxed) == 0) {
        return;
    }
    health.connect_failures.store(0, std::memory_order_relaxed);
    health.known_ns.store(loop_.now(), std::memory_order_relaxed);
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
    add_time(member, time);
    shm::add_pace(health, std::chrono::nanoseconds(time), now);
    note_success(health, now);
}

void Upstream::report_error(std::uint32_t member, loop::Nanos time, loop::Nanos now) noexcept
{
    if (!members_[member].has_entry()) {
        return;
    }
    shm::ServerHealth& health = members_[member].entry->health;
    add_time(member, time);
    shm::add_failed_pace(health, now);
    note_success(health, now);
}

void Upstream::report_unanswered(std::uint32_t member, loop::Nanos time, loop::Nanos now) noexcept
{
    if (!members_[member].has_entry()) {
        return;
    }
    if (time >= loop::to_nanos(hedge_after_)) {
        add_time(member, time); // else hedges would hide what is slow, and come sooner and sooner
    }
    shm::add_unanswered_pace(members_[member].entry->health, std::chrono::nanoseconds(time), now);
}

bool Upstream::report_load(std::uint32_t member, const shm::LoadWord& load, loop::Nanos now) noexcept
{
    const config::LoadReport& rules = *settings_.load_report;
    const auto capacity = shm::capacity_of(load, rules.penalty);
    if (capacity && members_[member].has_entry()) {
        shm::add_load(members_[member].entry->health, *capacity, load_times(rules), now);
    }
    return capacity.has_value();
}

std::string Upstream::agent_says(std::uint32_t member) const
{
    const shm::AgentWord word = shm::unpack_agent(agent_of(members_[member]));
    return shm::describe(word, shm::read_note(members_[member].entry->health.agent_note));
}

void Upstream::add_time(std::uint32_t member, loop::Nanos time) noexcept
{
    shm::add_latency(members_[member].entry->health, std::chrono::nanoseconds(time));
    if (settings_.hedge.percent != 0 && members_.front().has_entry()) {
        shm::add_time(members_.front().entry->health.recent_times, std::chrono::nanoseconds(time));
    }
}

/// It did answer.
void Upstream::note_success(shm::ServerHealth& health, loop::Nanos now) const noexcept
{
    const std::uint64_t until = health.out_until_ns.load(std::memory_order_relaxed);
    if (until > now) {
        return; // what it began to answer before it was ejected is no news
    }
    if (health.failures_in_row.load(std::memory_order_relaxed) != 0) {
        health.failures_in_row.store(0, std::memory_order_relaxed);
    }
    // It grows no shorter before it has been good for as long as an ejection takes: else one that comes and goes would never rest.
    if (health.ejections.load(std::memory_order_relaxed) != 0 && !is_on_slow_trial(health) &&
        now - until > loop::to_nanos(settings_.eject.time)) {
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

bool Upstream::take_hedge(loop::Nanos now) noexcept
{
    const bool may = members_.front().has_entry() &&
                     shm::take_hedge(members_.front().entry->health.hedges, count_requests(), settings_.hedge.budget, now);
    row_.add(shm::Metric::server_hedges_refused, may ? 0 : 1);
    return may;
}

/// Looks anew at what takes long.
void Upstream::settle_hedging(loop::Nanos now) noexcept
{
    if (!members_.front().has_entry()) {
        return;
    }
    shm::ServerHealth& health = members_.front().entry->health;
    shm::settle_hedges(health.hedges, count_requests(), now);
    shm::age_times(health.recent_times, now);
    look_at_times();
}

void Upstream::look_at_times() noexcept
{
    const shm::RecentTimes& times = members_.front().entry->health.recent_times;
    hedge_after_ = shm::time_to_hedge(times, settings_.hedge.percent, settings_.hedge.soonest);
}

} // namespace ladle::worker
