// SPDX-License-Identifier: Apache-2.0
//
// DiskSource: the body of an object that is too large for memory, from its file on disk to one client. Read by the pool of threads,
// in steps of some blocks, each block compared with its hash before a byte of it is given out. It holds one step: what its client
// takes in about a quarter of a second, at least one block, at most 512 KiB; while the client takes nothing, one block at the most.
// What it holds is counted in the budget for bodies that wait (delivery/spool_budget.h); where that is used up, a step is one block,
// and a client that takes nothing has nothing held for it. Owned by the serving of one request; the object's entry in the index is pinned meanwhile, so that nobody unlinks the file.
#pragma once

#include "common/loop/task.h"
#include "common/shm/disk_files.h"
#include "worker/cache/disk_call.h"
#include "worker/cache/disk_tier.h"
#include "worker/net/alarm.h"
#include "worker/request/request.h"

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

namespace ladle::worker {

class DiskSource {
public:
    /// The request's client's `wake` is kicked when something has been read.
    DiskSource(DiskTier& disk, Request& request, shm::CacheView entry, std::shared_ptr<const shm::DiskFile> file);

    /// What is at hand of the body from byte `begin` on, up to `end`; valid until the next call. Empty: it is being read, or
    /// is_bad().
    std::string_view at(std::uint64_t begin, std::uint64_t end);
    /// The client takes no more for now: of what is at hand only the block stays in which byte `position` lies, or nothing where the
    /// budget is used up.
    void let_go(std::uint64_t position);
    /// Whether a block was not what was written, or could not be read: no more comes.
    bool is_bad() const noexcept { return code_ != 0; }
    /// Whether it waits for the disk.
    bool is_reading() const noexcept { return call_ || is_refused_; }
    /// What is bad is taken away, if it is the file's fault.
    void forget_if_damaged() noexcept;

private:
    /// What functions in the pool use, so that it lives as long as they run.
    struct Step {
        std::shared_ptr<const shm::DiskFile> file;
        std::string bytes;
    };
    void read(std::uint64_t begin, std::uint64_t end);

    DiskTier& disk_;
    loop::Wake& wake_;
    SpoolAccount account_;
    shm::CacheView entry_; ///< of the index
    std::shared_ptr<Step> step_;
    std::optional<DiskCall> call_; ///< under way
    Alarm retry_;                  ///< after the pool had no place
    bool is_refused_ = false;      ///< by the pool: it is asked again
    std::uint64_t begin_ = 0;      ///< of the step's bytes in the body
    std::size_t most_;             ///< bytes of the next step
    loop::Nanos read_at_ = 0;      ///< when the step came
    int code_ = 0;
};

/// Opens the file of the stub request.cache->view and has the first bytes of `begin` … `end` at hand. Null: it is not to be had,
/// nothing has been said to the client, and the stub is gone: look up again.
loop::Task<std::unique_ptr<DiskSource>> open_disk_source(Request& request, std::uint64_t begin, std::uint64_t end);

} // namespace ladle::worker
