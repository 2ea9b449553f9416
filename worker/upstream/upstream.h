// SPDX-License-Identifier: Apache-2.0
//
// Upstream: one named group of servers in a configuration, and the choice among them. Counts of requests in flight are exact over
// all workers (each writes its own process row, a choice sums them), so least_busy means the whole proxy's load and max_conn holds
// for the whole proxy, to within one request per worker that decides in the same instant. Requests that find every server at its
// max_conn wait in a bounded queue, oldest first. A server that refuses or does not take connections is passed over for a short,
// growing time by all workers, but never so that none is left to try.
#pragma once

#include "common/config/config.h"
#include "common/loop/task.h"
#include "worker/upstream/server_set.h"

#include <cstdint>
#include <vector>

namespace ladle::worker {

/// One server of the group.
struct Member {
    const config::UpstreamServer* settings;
    shm::ServerEntry* entry;
    std::shared_ptr<Server> server;
};

/// A request that waits for a server below its max_conn.
struct QueuePlace : loop::Link {
    loop::Wake* wake = nullptr;
};

class Upstream {
public:
    Upstream(const config::Upstream& settings, ServerSet& servers, shm::Regions& regions, shm::ProcessRow& row);

    const config::Upstream& settings() const noexcept { return settings_; }
    std::vector<Member>& members() noexcept { return members_; }

    enum class Outcome : std::uint8_t { chosen, all_full, none_left };
    struct Choice {
        Outcome outcome;
        std::uint32_t member;
    };
    /// Picks a member that is not in `tried` (a bit per member, of the first 64).
    Choice choose(std::uint64_t tried, loop::Nanos now);

    /// Counts one request in flight on the member.
    void begin_request(std::uint32_t member) noexcept;
    /// Ends it and tells the oldest waiter.
    void end_request(std::uint32_t member) noexcept;

    /// Takes the last place; false if the queue is full.
    bool enqueue(QueuePlace& place) noexcept;
    void leave_queue(QueuePlace& place) noexcept;
    bool has_queue() const noexcept { return queued_ != 0; }
    bool is_oldest(const QueuePlace& place) const noexcept { return queue_.next == &place; }
    /// Lets the oldest waiter look again: another worker may have made room. Each tick.
    void stir_queue() noexcept;

    /// The member refused or did not take a connection: it rests, for 1 s at first, twice as long each time, 10 s at most.
    static void report_failure(Member& member, loop::Nanos now) noexcept;
    static void report_success(Member& member) noexcept;

private:
    bool is_usable(const Member& member, loop::Nanos now) const noexcept;
    bool is_full(std::uint32_t member) const noexcept;
    std::uint32_t count_in_flight(std::uint32_t member) const noexcept;
    Choice choose_least_busy(std::uint64_t tried, loop::Nanos now, bool ignore_rest);
    Choice choose_round_robin(std::uint64_t tried, loop::Nanos now, bool ignore_rest);
    void make_turns();

    const config::Upstream& settings_;
    shm::Regions& regions_;
    shm::ProcessRow& row_;
    std::vector<Member> members_;
    std::vector<std::uint32_t> turns_; ///< round_robin: one smooth weighted round, as member numbers
    std::uint64_t offset_ = 0;         ///< least_busy: where equal ones are looked at first
    loop::Link queue_;
    std::uint32_t queued_ = 0;
};

/// One request's hold on a server: in flight from construction to destruction.
class Lease {
public:
    Lease() = default;
    Lease(Upstream& upstream, std::uint32_t member) noexcept : upstream_(&upstream), member_(member)
    {
        upstream.begin_request(member);
    }
    Lease(Lease&& other) noexcept : upstream_(std::exchange(other.upstream_, nullptr)), member_(other.member_) {}
    Lease& operator=(Lease&& other) noexcept
    {
        if (this != &other) {
            end();
            upstream_ = std::exchange(other.upstream_, nullptr);
            member_ = other.member_;
        }
        return *this;
    }
    ~Lease() { end(); }
    void end() noexcept
    {
        if (upstream_ != nullptr) {
            std::exchange(upstream_, nullptr)->end_request(member_);
        }
    }

private:
    Upstream* upstream_ = nullptr;
    std::uint32_t member_ = 0;
};

} // namespace ladle::worker
