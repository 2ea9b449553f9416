// SPDX-License-Identifier: Apache-2.0
//
// Spool: a body on its way between a fast and a slow side, first in memory, past the memory budget in an unlinked file, past that
// back-pressure. One per request body and per response body; the producer appends, the consumer takes, in order:
//
//   taken │ memory_ (in memory) │ file [file_begin_, file_end_) │ tail_ (in memory, being written or waiting to be)
//
// File I/O goes through FileJobs; while it runs, take() may give nothing although the spool is not drained: the Wake is kicked when
// there is more. A failing disk is never an error here: tail_ then waits in memory, has_room() says no until it has drained, and a
// warning is logged. Keep::all remembers everything for rewind() (a request body that may be sent twice).
#pragma once

#include "common/loop/task.h"
#include "worker/delivery/file_jobs.h"
#include "worker/delivery/spool_budget.h"
#include "worker/net/blocks.h"

#include <cstdint>
#include <memory>
#include <optional>

namespace ladle::worker {

/// What spools share in a worker. `jobs` null or `directory` -1 = memory only.
struct SpoolParts {
    loop::Loop& loop;
    SpoolBudget& budget;
    FileJobs* jobs;
    int directory;
};

/// What can be had once more with rewind(): nothing, everything, or everything for as long as it is no more than Spool::kFree.
enum class Keep : std::uint8_t { until_taken, all, beginning };

class Spool {
public:
    Spool(SpoolParts& parts, std::uint32_t client_bucket, loop::Wake& wake, Keep keep) noexcept;
    /// A second reader of a body that may_be_shared(): shares its bytes and its file, and keeps all of them. What is shared counts
    /// once, for the source; what is read back for this reader counts for `client_bucket`. Without one nothing counts: who makes
    /// such readers bounds what they hold.
    Spool(SpoolParts& parts, std::optional<std::uint32_t> client_bucket, loop::Wake& wake, const Spool& source);
    ~Spool();
    Spool(const Spool&) = delete;
    Spool& operator=(const Spool&) = delete;

    void append(Chain&& bytes);
    /// How many of `wanted` bytes the producer may read now, while `outside` bytes (taken, but not yet gone) wait beside what is
    /// held here: as many as the budget has room for, or what is left of kFree; 0 = wait. So past the budget a body in memory holds
    /// kFree (where buffers are scarce, 4 KiB), and one on disk three of kShortChunk: two to be written, one read back.
    std::size_t room(std::size_t outside, std::size_t wanted) noexcept;
    bool has_room() noexcept { return room(0, kFree) > 0; }
    /// Moves (where all is kept: shares) up to `most` bytes that are at hand to `out`; 0 = nothing at hand now.
    std::size_t take(Chain& out, std::size_t most);
    /// Whether all that was appended has been taken.
    bool is_drained() const noexcept { return taken_ == size_; }
    /// To Keep::until_taken: the budget cannot hold the whole body, or it will not be needed again. Precondition: nothing was taken
    /// from a file.
    void keep_no_more() noexcept;
    /// The same for Keep::beginning; nothing for the others.
    void forget_beginning() noexcept;
    /// Whether a part is on its way to the disk, which makes room.
    bool is_writing() const noexcept { return write_ != nullptr; }
    /// Whether all that was appended is kept.
    bool keeps_all() const noexcept { return keep_ != Keep::until_taken; }
    /// Whether all that was appended is kept, and none of it on disk.
    bool is_whole_in_memory() const noexcept { return keep_ == Keep::all && !is_on_disk(); }
    /// Whether another one may be made to read it as well: all is kept, and nothing is being written. Precondition: it is whole.
    bool may_be_shared() const noexcept { return keeps_whole() && write_ == nullptr; }
    /// Whether it is kept whatever its size.
    bool keeps_whole() const noexcept { return keep_ == Keep::all; }
    /// Starts again from the first byte. Precondition: keeps_all().
    void rewind() noexcept;
    /// Bytes appended so far.
    std::uint64_t size() const noexcept { return size_; }
    /// Counts `outside` bytes (taken, but not yet gone) beside what is held here into the budget; call before waiting.
    void settle(std::size_t outside) noexcept;

    static constexpr std::size_t kFree = 16 << 10;         ///< held without asking the budget, so that everyone gets on
    static constexpr std::size_t kFileChunk = 256 << 10;   ///< per file operation
    static constexpr std::size_t kShortChunk = 64 << 10;   ///< the same where memory is short
    static constexpr std::size_t kReadStep = 64 << 10;     ///< a smaller read, where the wanted one does not fit
    static constexpr std::size_t kReleaseStep = 16 << 20;  ///< consumed file space goes back to the disk in such steps

private:
    bool is_on_disk() const noexcept { return file_end_ > file_begin_ || write_ != nullptr || !tail_.empty(); }
    bool may_use_disk(std::uint64_t more) noexcept;
    bool fits_in_memory(std::size_t all) noexcept;
    bool fits(std::size_t outside, std::size_t wanted) noexcept;
    std::size_t file_chunk(std::size_t outside) noexcept;
    bool open_file();
    void spill();
    void fetch();
    void leave_disk();
    void release_consumed();
    static void on_written(void* self, FileJob& job);
    static void on_fetched(void* self, FileJob& job);
    std::size_t held() const noexcept { return memory_.bytes() + window_.bytes() + tail_.bytes(); }

    SpoolParts& parts_;
    loop::Wake& wake_;
    SpoolAccount account_;
    Keep keep_;
    Chain memory_;
    Chain window_; ///< read back from the file, from taken_ on
    Chain tail_;
    std::shared_ptr<os::Fd> file_; ///< byte n of the body stands at offset n
    std::uint64_t memory_begin_ = 0; ///< body offset of memory_'s first byte: taken_, or 0 with Keep::all
    std::uint64_t file_begin_ = 0;
    std::uint64_t file_end_ = 0;
    std::uint64_t released_ = 0; ///< file space below this was given back
    std::uint64_t taken_ = 0;
    std::uint64_t size_ = 0;
    FileJob* write_ = nullptr; ///< under way, of tail_'s first bytes
    FileJob* read_ = nullptr;
    unsigned failed_reads_ = 0; ///< in a row
    bool waits_for_room_ = false;
    bool is_counted_ = true;
    std::size_t shared_ = 0; ///< bytes in memory that another one counts
};

} // namespace ladle::worker
