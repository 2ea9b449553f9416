// SPDX-License-Identifier: Apache-2.0
//
// Front: all client traffic of one worker. Owns the sessions, what they share (WorkerParts), and the configuration that new
// requests begin with. Made by the worker's role file (worker.cc), which accepts connections and hands them over here.
#pragma once

#include "common/base/error.h"
#include "common/loop/loop.h"
#include "common/os/fd.h"
#include "common/shm/arena.h"
#include "worker/client/session.h"
#include "worker/request/live_config.h"
#include "worker/request/parts.h"
#include "worker/tls/handshake_gate.h"

#include <sys/socket.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace ladle::worker {

/// What the role file brings.
struct FrontParts {
    loop::Loop& loop;
    shm::Arena& arena;
    std::uint32_t row;
    os::Fd access_log;
    os::Fd spool_directory; ///< -1 = bodies wait in memory only
    shm::CacheArena* cache; ///< null = no cache
    os::Fd cache_files;
    std::vector<os::Fd> cache_bells;
    shm::CacheArena* disk_index; ///< null = no disk tier
    os::Fd disk_files;
};

class Front {
public:
    static Result<std::unique_ptr<Front>> make(FrontParts parts, std::shared_ptr<const config::Config> config);
    ~Front();
    Front(const Front&) = delete;
    Front& operator=(const Front&) = delete;

    /// Begins a session for an accepted connection that came in on that bind address.
    void adopt_connection(os::Fd socket, const sockaddr_storage& peer, const std::string& bind_text);

    /// Two-phase change of configuration: prepare builds all that it needs, commit swaps one pointer.
    Result<void> prepare(std::shared_ptr<const config::Config> next);
    void commit();
    void abort_prepared();

    /// Where lines of the access log go from now on; -1 = off.
    void set_access_log(os::Fd file) { parts_->access_log.set_file(std::move(file)); }

    /// From now on answers say "Connection: close", and idle connections end once they have been so for a second: a client that is
    /// just sending its next request still gets its answer.
    void start_drain();
    /// The disk tier's folder is for the next master's workers.
    void leave_disk() noexcept;
    std::size_t connection_count() const noexcept { return session_count_; }
    /// What a drain waits for: connections, and objects on their way into the cache that other workers' clients are reading.
    std::size_t busy_count() const noexcept { return session_count_ + (parts_->cache ? parts_->cache->awaited_count() : 0); }

    /// Whether this worker has its share of [defence] connections.total; on_room is called when that is over.
    bool is_full() const noexcept { return session_count_ >= share_; }
    void set_on_room(void (*function)(void* self), void* self) noexcept
    {
        on_room_ = function;
        on_room_self_ = self;
    }
    /// Every 100 ms.
    void on_tick();

    // For sessions.
    WorkerParts& parts() noexcept { return *parts_; }
    HandshakeGate& handshakes() noexcept { return handshakes_; }
    const std::shared_ptr<LiveConfig>& live() const noexcept { return live_; }
    /// The configuration for a connection that came in on this address: the live one, or, for what still waited in the queue of an
    /// address that the last reload removed, the one before.
    const std::shared_ptr<LiveConfig>& live_for(const std::string& bind_text) const;
    /// The session has ended; it is destroyed soon, outside its own code.
    void retire(Session& session);

private:
    Front(FrontParts parts, std::unique_ptr<FileJobs> jobs, const config::Config& config);
    static void on_reap(void* self);
    void count_share() noexcept;
    void close_idle_sessions();

    os::Fd spool_directory_;
    std::unique_ptr<WorkerParts> parts_;
    std::shared_ptr<LiveConfig> live_;
    std::shared_ptr<LiveConfig> prepared_;
    std::shared_ptr<LiveConfig> previous_; ///< kept for some seconds after a reload, see live_for()
    loop::Nanos previous_until_ = 0;
    std::vector<std::weak_ptr<LiveConfig>> earlier_; ///< that requests may still wait in
    loop::Link sessions_;
    loop::Link ended_;
    loop::Posted reap_;
    HandshakeGate handshakes_;
    std::size_t session_count_ = 0;
    std::size_t share_ = SIZE_MAX;
    bool was_full_ = false;
    unsigned ticks_ = 0;
    std::uint64_t error_lines_dropped_ = 0; ///< counted so far
    void (*on_room_)(void*) = nullptr;
    void* on_room_self_ = nullptr;
};

} // namespace ladle::worker
