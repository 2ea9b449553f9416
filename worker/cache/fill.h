// SPDX-License-Identifier: Apache-2.0
//
// Fill: the body of one object on its way from a server into the cache. It owns the server's turn, so it goes on when the client that
// caused it leaves; that client reads the object like everybody else. Owned by the Cache once start() was called.
//
// Where the cache takes no more of a body (its length was not announced, and memory or the limit is used up), the object ends as
// aborted, and the request that began the fill takes the turn back and passes on the rest itself: no client loses a byte for it.
#pragma once

#include "common/loop/task.h"
#include "worker/cache/cache.h"
#include "worker/cache/visit.h"
#include "worker/net/alarm.h"
#include "worker/net/blocks.h"
#include "worker/request/live_config.h"
#include "worker/upstream/turn.h"

#include <chrono>
#include <memory>

namespace ladle::worker {

class Fill final : public Errand {
public:
    struct Limits {
        std::chrono::milliseconds stall; ///< of the server
        std::uint64_t object_bytes;      ///< a body may have
        std::uint64_t finish_bytes;      ///< that may still be due when nobody reads any more
        std::chrono::milliseconds uncacheable_for; ///< the key is taken to be, when the body turns out to be too large
    };

    /// `file`: of an object in a file, else -1. `begun_by`: its `fill` points here as long as the turn may be taken back.
    Fill(Cache& cache, std::shared_ptr<LiveConfig> live, Turn&& turn, shm::CacheFill object, os::Fd file, Limits limits,
         CacheVisit* begun_by);
    ~Fill() override;

    enum class State : std::uint8_t {
        arriving,
        complete,
        refused, ///< by the cache: take_over(), or it ends
        cut,     ///< by the server
    };
    /// Takes in and stores what is at hand, without waiting.
    State step();
    enum class Side : std::uint8_t { before, behind };
    /// Puts the body of a stored part before or behind what comes from the server. Once, before the first step(). The part is complete.
    void join(shm::CacheView part, Side side);
    /// Shows the object to everybody, if the lock can be had; else it is shown when it is complete.
    void publish() noexcept;
    /// Leaves it unseen until it is complete; those who wait for the claim wait until then.
    void show_when_complete(const shm::FillClaim& claim) noexcept { claim_ = claim; }
    /// Goes on from here in the loop. The Cache owns it then.
    static void start(std::unique_ptr<Fill> fill);

    const shm::CacheView& view() const noexcept { return view_; }
    State state() const noexcept { return state_; }
    bool is_awaited() const noexcept override { return state_ == State::arriving && object_ && object_.rows_reading() != 0; }

    /// Of a refused one: the server's turn, and what was received and not stored. It ends with that.
    void take_over(Turn& turn, Chain& rest) noexcept;
    /// The request that began it is gone.
    void forsake() noexcept;

private:
    loop::Task<void> run() override;
    bool store(Chain& bytes);
    bool store_part(const shm::CacheView& part);
    bool store_inline(Chain& bytes) noexcept;
    void allocate_to(std::uint64_t end) noexcept;
    bool store_in_file(Chain& bytes) noexcept;
    bool is_wanted() const noexcept;
    void finish();
    void end_claim() noexcept;
    void end(State state) noexcept;
    void leave() noexcept;

    Cache& cache_;
    std::shared_ptr<LiveConfig> live_; ///< what the turn points into
    Limits limits_;
    CacheVisit* begun_by_;
    loop::Wake wake_;
    Alarm alarm_;
    Turn turn_;
    shm::CacheFill object_;
    shm::CacheView view_;
    shm::CacheHash hash_; ///< of its name
    shm::FillClaim claim_;
    os::Fd file_;
    shm::CacheView part_behind_; ///< that follows what the server sends
    Chain incoming_; ///< received, not stored yet
    std::uint64_t stored_ = 0;
    std::uint64_t allocated_ = 0; ///< bytes of the file that have memory
    State state_ = State::arriving;
    bool is_started_ = false;
    bool has_left_ = false;
};

} // namespace ladle::worker
