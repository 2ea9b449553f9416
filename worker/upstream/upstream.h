// SPDX-License-Identifier: Apache-2.0
//
// Upstream: one named group of servers in a configuration, and the choice among them. Counts of requests in flight are exact over
// all workers (each writes its own process row, a choice sums them), so least_busy means the whole proxy's load, and max_conn holds
// for the whole proxy (a lease of a server with a limit is taken behind its ServerGate). Requests that find every server at its
// max_conn wait in a bounded queue, the oldest of all workers first: each has a ticket, each worker's row shows its oldest one, and
// who waits looks every kLook whether it is the next and there is room, as nothing else tells a worker of what another one ended.
// Where there is room for several, so many look at once: one after the other they would leave a wide server idle.
//
// The methods (choose.cc), all on what every worker sees:
//   least_busy   the fewest in flight for the weight; of a server that takes twice as long as the quickest or more they count as
//                much more as it takes longer. So servers that do the same work are told apart by their load alone.
//   round_robin  in turn, one order over all workers
//   random       of two that are drawn by weight the one with fewer in flight
//   latency      of two that are drawn by weight the one where in flight × peak time is less
//   first        the first in file order that has room
//   hash         the same for the same key (maglev.h); from one that cannot be chosen each key goes on to another, always the same
// The first four go by weights as a server's agent (shm/server_agent.h) and its responses (shm/server_load.h) scale them, hash by
// those that are configured or ordered, as keys are to stay where they are.
// A client that has a sticky cookie goes to the server that it names, whatever the method, while that one can be chosen or drains.
//
// Where `adaptive` is on, a server has a limit that its times say, too (shm/server_limit.h, limits.cc). It holds for requests
// that are not answered yet, as they are what is measured: a tunnel takes no place of it, as it does of max_conn.
//
// Whom a choice may fall on: servers that checks have not found down, that are not ejected (what requests met, of all workers) and
// that neither the operator nor their agents have taken out; without any, the backups of that kind; without any of those, all that
// operator and agents ("drain", "maint") let (`panics`). More than kMostCompared servers are not all compared: of two that
// are drawn by weight the less busy one is taken, which spreads load nearly as well and does not take longer the more there are.
#pragma once

#include "common/config/config.h"
#include "common/loop/task.h"
#include "common/shm/server_limit.h"
#include "common/shm/server_load.h"
#include "common/shm/server_pace.h"
#include "common/shm/server_slowness.h"
#include "worker/upstream/maglev.h"
#include "worker/upstream/server_set.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace ladle::worker {

/// One server of the group.
struct Member {
    const config::UpstreamServer* settings;
    shm::ServerEntry* entry;
    std::shared_ptr<Server> server;
    std::uint32_t tenancy; ///< of the entry, when it was this server's
    std::string sticky;    ///< the value of the cookie that names it; empty = clients are not kept

    /// Whether the entry still is this server's: not where the configuration is an old one, and a newer one has no such server.
    bool has_entry() const noexcept { return entry->tenancy.load(std::memory_order_relaxed) == tenancy; }
};

/// What one request asks of the choice.
struct Preference {
    std::optional<std::uint64_t> key;    ///< hash of what `hash` goes by; none = the least busy
    std::optional<std::uint32_t> member; ///< the one that its client had
};

/// The members that one request has been sent to, and is not to be sent to again.
class Tried {
public:
    void add(std::uint32_t member) noexcept
    {
        if (size_ < members_.size()) {
            members_[size_++] = member;
        }
    }
    bool has(std::uint32_t member) const noexcept
    {
        return std::find(members_.begin(), members_.begin() + size_, member) != members_.begin() + size_;
    }
    std::uint32_t size() const noexcept { return size_; }

private:
    std::array<std::uint32_t, 12> members_{}; ///< more than `retry.attempts` may be
    std::uint32_t size_ = 0;
};

/// A request that waits for a server below its max_conn.
struct QueuePlace : loop::Link {
    loop::Wake* wake = nullptr;
    std::uint32_t ticket = 0;
};

class Lease;

class Upstream {
public:
    Upstream(const config::Upstream& settings, ServerSet& servers, shm::Regions& regions, shm::ProcessRow& row);

    const config::Upstream& settings() const noexcept { return settings_; }
    std::vector<Member>& members() noexcept { return members_; }
    /// The operator's, where one was ordered, or the file's.
    std::uint32_t weight_of(std::uint32_t member) const noexcept;

    enum class Outcome : std::uint8_t { chosen, all_full, none_left };
    struct Choice {
        Outcome outcome;
        std::uint32_t member;
        bool is_panic = false; ///< none is in order
    };
    enum class Purpose : std::uint8_t { request, explanation, copy };
    /// Picks a member that is not in `tried`. For an explanation nothing is counted; a copy for a mirror, or a hedge, goes to
    /// no server that is out.
    Choice choose(const Tried& tried, loop::Nanos now, const Preference& preference = {}, Purpose purpose = Purpose::request);
    /// Whether the member keeps the clients that it has: it works, and drains at most.
    bool keeps_clients(std::uint32_t member, loop::Nanos now) const noexcept;
    /// The member that a sticky cookie of this value names.
    std::optional<std::uint32_t> find_sticky(std::string_view value) const noexcept;

    /// A hold on the chosen member; an empty one where its last place has just been taken.
    Lease take(const Choice& choice, loop::Nanos now) noexcept;
    /// Counts one request in flight on the member.
    void begin_request(std::uint32_t member) noexcept;
    /// It is answered, or will not be. To be said once of each, before its end, where the limit finds itself.
    void settle_request(std::uint32_t member) noexcept;
    /// Ends it and tells the oldest waiter.
    void end_request(std::uint32_t member) noexcept;

    /// Takes the last place; false if the queue is full.
    bool enqueue(QueuePlace& place) noexcept;
    void leave_queue(QueuePlace& place) noexcept;
    /// Whether it may look for a server: as nobody, in any worker, has waited for longer, or as there is room for those as well.
    /// For a place that is not in the queue: for a newcomer.
    bool has_turn(const QueuePlace& place, const Tried& tried, loop::Nanos now) const noexcept;
    /// Whether the request need not wait for those that do: its client's server drains, so they may not go there, and has room.
    bool may_pass(const Preference& preference, const Tried& tried, loop::Nanos now) const noexcept;
    /// Lets as many of the oldest look again as there is room for, one at least: another worker may have made some.
    void stir_queue() noexcept;
    /// Each tick of the loop.
    void on_tick(loop::Nanos now) noexcept
    {
        stir_queue();
        settle_budget(now);
        follow_wall_clock();
        if (settings_.hedge.percent != 0) {
            settle_hedging(now);
        }
    }
    static constexpr std::size_t kMostCompared = 16;
    static constexpr std::size_t kMostBeside = 32; ///< that a server is compared with as to whether it is slow

    /// A request to the member failed, and the member is to blame. One that takes no connection is left alone for 1 s at first,
    /// twice as long each time, 10 s at most; what else happens takes it out as `eject` says. True = that has happened now.
    bool report_failure(std::uint32_t member, shm::ServerFailure failure, loop::Nanos now) noexcept;
    /// The member has taken a connection.
    void report_connected(std::uint32_t member) noexcept;
    /// The member has answered a request as it should; how long the head of the response took.
    void report_success(std::uint32_t member, loop::Nanos time, loop::Nanos now) noexcept;
    /// The same of an answer that says that something failed (5xx): no reason to take it out, but it does not count as quick.
    void report_error(std::uint32_t member, loop::Nanos time, loop::Nanos now) noexcept;
    /// How long the member took for an answer since it had all of the request. Nothing where the limit does not find itself.
    void report_answer_time(std::uint32_t member, loop::Nanos time, loop::Nanos now) noexcept;
    /// The same where `eject.slow` is set, of an answer that is no error: those are quick. True = the member was ejected now, as it
    /// is slow beside the others (slowness.cc).
    bool report_speed(std::uint32_t member, loop::Nanos time, loop::Nanos now) noexcept;
    /// Whether either is to be told.
    bool are_answers_timed() const noexcept { return settings_.adaptive.has_value() || settings_.eject.slow != 0; }
    /// The member has too much to do. Nothing where the limit does not find itself, as of the next one.
    void report_overload(std::uint32_t member, loop::Nanos now) noexcept;
    /// Nobody waits for the member's answer any more; it had so much time since it had all of the request.
    void report_abandoned(std::uint32_t member, loop::Nanos time, loop::Nanos now) noexcept;
    /// A request to the member was given up after `time`, as another one has answered: it would have taken longer.
    void report_unanswered(std::uint32_t member, loop::Nanos time, loop::Nanos now) noexcept;
    /// The member has said in a response how loaded it is. False where that tells nothing. Precondition: settings().load_report.
    bool report_load(std::uint32_t member, const shm::LoadWord& load, loop::Nanos now) noexcept;

    /// The part of its weight that counts for the member, in percent: what its agent and its responses say.
    std::uint32_t share_of(std::uint32_t member, loop::Nanos now) const;
    /// The limit that the member's times say, bounded by its max_conn. Precondition: settings().adaptive.
    std::uint32_t limit_of(std::uint32_t member) const noexcept;
    /// What its agent says that keeps the member out: "drain", "down: out of memory"; empty = nothing.
    std::string agent_says(std::uint32_t member) const;

    /// Whether another member than those in `tried` is in order, so that a request that this one failed is better sent there.
    enum class Backups : std::uint8_t { too, not_they };
    bool has_other(const Tried& tried, loop::Nanos now, Backups backups = Backups::too) const noexcept;
    /// Whether the budget of all workers lets one more request be sent again; counts it if so.
    bool take_retry(loop::Nanos now) noexcept;

    /// Whether a request may go to any server, as the breaker has it; without one all may.
    shm::Admission admit(loop::Nanos now) noexcept;
    /// How a request that was admitted ended; nothing = well. What has come of it now, over all workers.
    shm::BreakerChange settle_admission(const shm::Admission& admission, std::optional<shm::ServerFailure> failure,
                                        loop::Nanos now) noexcept;
    /// It ended, and tells nothing of the servers.
    void give_back(const shm::Admission& admission) noexcept;
    /// For how long the breaker lets nothing through for certain; 0 = it may.
    loop::Nanos time_shut(loop::Nanos now) const noexcept;
    shm::BreakerReading read_breaker(loop::Nanos now) const noexcept;

    /// After how long a request that has no answer is sent to a second server as well; 0 = never: not configured, or too few
    /// responses so far to know what is long.
    std::chrono::milliseconds hedge_after() const noexcept { return hedge_after_; }
    /// Whether the budget of all workers lets one more request be sent to a second server; counts it if so.
    bool take_hedge(loop::Nanos now) noexcept;

private:
    static constexpr std::uint32_t kFull = ~std::uint32_t{0};
    static constexpr std::uint32_t kEndless = kFull;
    /// Whom a search looks at, in this order.
    enum class Tier : std::uint8_t { normal, starting, backup, any };
    struct Search {
        const Tried& tried;
        loop::Nanos now;
        Tier tier;
        std::uint64_t turn; ///< where it begins
        std::optional<std::uint64_t> key;
        Purpose purpose;
    };
    /// One of those that a search compares.
    struct Candidate {
        std::uint32_t member = 0;
        std::uint32_t load = 0; ///< requests in flight; kFull = no more
        std::uint32_t weight = 1;
        shm::Pace pace;
        std::uint64_t cost = 0;
    };

    bool is_usable(std::uint32_t member, const Search& search) noexcept;
    shm::ServerOrder order_of(const Member& member) const noexcept;
    bool works(const Member& member, loop::Nanos now) const noexcept;
    bool is_on_trial(const Member& member, loop::Nanos now) const noexcept;
    bool is_in_order(const Member& member, loop::Nanos now) const noexcept;
    bool takes_part(const Member& member, const Search& search) noexcept;
    void note_success(shm::ServerHealth& health, loop::Nanos now) const noexcept;
    bool may_eject(std::uint32_t member, loop::Nanos now) const noexcept;
    bool eject(shm::ServerHealth& health, std::uint64_t until_seen, std::uint32_t why, loop::Nanos now) noexcept;
    bool set_out(shm::ServerHealth& health, std::uint64_t until_seen, std::uint64_t until, std::uint32_t why,
                 loop::Nanos now) noexcept;
    // slowness.cc. What is judged is true if the server was ejected for it.
    bool judge_time(std::uint32_t member, loop::Nanos time, loop::Nanos now);
    bool judge_waited(std::uint32_t member, loop::Nanos waited, loop::Nanos now);
    bool judge_trial(std::uint32_t member, std::chrono::nanoseconds took, loop::Nanos now);
    bool judge_window(std::uint32_t member, loop::Nanos now);
    bool eject_slow(std::uint32_t member, shm::Slowness slowness, loop::Nanos now);
    bool is_on_slow_trial(const shm::ServerHealth& health) const noexcept;
    loop::Nanos time_of_slow_trial(const shm::ServerHealth& health) const noexcept;
    shm::Times times_of(const Member& member, loop::Nanos now) const noexcept;
    template <typename Take>
    std::size_t look_beside(std::uint32_t member, loop::Nanos now, Take take) const;
    shm::Pooled middle_times(std::uint32_t member, loop::Nanos now);
    shm::Difference middle_difference(std::uint32_t member, const shm::Times& own, loop::Nanos now);
    std::uint64_t agent_of(const Member& member) const noexcept;
    void follow_orders(loop::Nanos now);
    void renew_shares(loop::Nanos now);
    std::optional<double> capacity_of(const Member& member, loop::Nanos now) const noexcept;
    std::optional<double> middle_capacity(loop::Nanos now) const;
    std::uint32_t share_of(std::uint32_t member, std::optional<double> middle, loop::Nanos now) const noexcept;
    std::uint32_t most_of(const Member& member) const noexcept;
    shm::Breaker* breaker() const noexcept;
    bool finds_limit_of(const Member& member) const noexcept { return settings_.adaptive && member.has_entry(); }
    shm::LimitRules limit_rules(const Member& member) const noexcept;
    std::uint32_t room_of(const Member& member, std::uint32_t in_flight) const noexcept
    {
        const bool may_have_limit = settings_.adaptive || settings_.agent || member.settings->max_conn != 0;
        return may_have_limit ? count_room(member, in_flight) : kEndless;
    }
    std::uint32_t count_room(const Member& member, std::uint32_t in_flight) const noexcept;
    void count_limit_change(shm::LimitChange change) noexcept;
    void follow_wall_clock() noexcept;
    shm::LimitClock limit_clock(const Member& member, loop::Nanos now) const noexcept;
    std::uint32_t load_of(std::uint32_t member) const noexcept;
    std::uint64_t count_requests() const noexcept;
    Choice choose_in(config::Balance method, const Search& search);
    Choice choose_least_busy(const Search& search);
    Choice choose_of_two(config::Balance method, const Search& search);
    Choice choose_round_robin(const Search& search);
    Choice choose_next(std::uint32_t begin, const Search& search);
    Choice choose_by_hash(const Search& search);
    static bool is_better(config::Balance method, const Candidate& second, const Candidate& first) noexcept;
    static std::uint64_t cost_of(const Candidate& one, std::uint64_t slowness) noexcept;
    std::uint32_t next_idle(std::uint64_t turn, std::uint32_t fallback) const noexcept;
    Candidate candidate(config::Balance method, std::uint32_t member, loop::Nanos now) const noexcept;
    void make_turns();
    void make_tables();
    void settle_budget(loop::Nanos now) noexcept;
    void settle_hedging(loop::Nanos now) noexcept;
    void look_at_times() noexcept;
    void add_time(std::uint32_t member, loop::Nanos time) noexcept;
    std::uint32_t number_of_row() const noexcept { return static_cast<std::uint32_t>(&row_ - regions_.rows); }
    std::uint32_t count_before(std::uint32_t ticket, loop::Nanos now) const noexcept;
    std::uint32_t count_free(const Tried& tried, std::uint32_t most, loop::Nanos now) const noexcept;
    void show_oldest() noexcept;
    static void on_look(void* self);
    std::uint32_t random() noexcept;

    const config::Upstream& settings_;
    shm::Regions& regions_;
    shm::ProcessRow& row_;
    loop::Loop& loop_;
    std::vector<Member> members_;
    std::vector<std::uint32_t> weights_; ///< of members_, that count now; any unit, never 0
    loop::Nanos next_shares_ = 0;        ///< when those are looked at again; kNever = nobody reports any
    std::vector<std::uint32_t> turns_; ///< round_robin: one smooth weighted round, as member numbers
    std::array<Maglev, 2> tables_;     ///< hash: of the servers, and of their backups
    std::unordered_map<std::string_view, std::uint32_t> sticky_; ///< of members_, by `sticky`
    std::vector<Candidate> candidates_; ///< of the search under way
    std::vector<shm::Pooled> typical_times_;    ///< of the servers that one is compared with
    std::vector<shm::Difference> differences_;  ///< to those
    std::uint64_t offset_ = 0;         ///< least_busy: where equal ones are looked at first
    std::uint64_t random_;             ///< state
    loop::Nanos next_settling_ = 0;
    loop::Nanos wall_offset_ = 0;      ///< from the loop's clock to the wall clock, where the limit finds itself
    std::chrono::milliseconds hedge_after_{0};
    std::uint32_t orders_seen_ = 0;    ///< of the table, when turns_ were made
    bool has_limits_ = false;          ///< requests may wait: for a max_conn, an agent that may say one, or `adaptive`
    loop::Timer look_;                 ///< runs while somebody waits
    loop::Link queue_;
    std::uint32_t queued_ = 0;
};

/// As shared memory wants them.
inline shm::LoadTimes load_times(const config::LoadReport& rules) noexcept
{
    return {loop::to_nanos(rules.blackout), loop::to_nanos(rules.expire)};
}

inline shm::BreakerRules breaker_rules(const config::BreakerSettings& rules) noexcept
{
    return {rules.rate, rules.requests, rules.within, rules.time, rules.longest, rules.trials};
}

/// One request's hold on a server: in flight from construction to destruction.
class Lease {
public:
    Lease() = default;
    Lease(Upstream& upstream, std::uint32_t member) noexcept : upstream_(&upstream), member_(member)
    {
        upstream.begin_request(member);
    }
    enum class Begun : std::uint8_t { yes };
    Lease(Upstream& upstream, std::uint32_t member, Begun) noexcept : upstream_(&upstream), member_(member) {}
    Lease(Lease&& other) noexcept
        : upstream_(std::exchange(other.upstream_, nullptr)), member_(other.member_), is_settled_(other.is_settled_)
    {
    }
    Lease& operator=(Lease&& other) noexcept
    {
        if (this != &other) {
            end();
            upstream_ = std::exchange(other.upstream_, nullptr);
            member_ = other.member_;
            is_settled_ = other.is_settled_;
        }
        return *this;
    }
    ~Lease() { end(); }
    explicit operator bool() const noexcept { return upstream_ != nullptr; }
    /// The request is answered: what is left is its body.
    void settle() noexcept
    {
        if (upstream_ != nullptr && upstream_->settings().adaptive && !std::exchange(is_settled_, true)) {
            upstream_->settle_request(member_);
        }
    }
    void end() noexcept
    {
        settle();
        if (upstream_ != nullptr) {
            std::exchange(upstream_, nullptr)->end_request(member_);
        }
    }

private:
    Upstream* upstream_ = nullptr;
    std::uint32_t member_ = 0;
    bool is_settled_ = false;
};

} // namespace ladle::worker
