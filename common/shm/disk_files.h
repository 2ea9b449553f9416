// SPDX-License-Identifier: Apache-2.0
//
// The disk tier's folder: where an object's file lies in it, and reading, writing and unlinking one. Every function here may wait for a
// disk, but for open_disk_file() where it is told not to: in a worker and the caretaker they run in the pool of threads, never in the
// loop. They touch only what they are given.
//
//   FOLDER/<2 hex: low byte of the number>/<16 hex: number>     disk_object.h
//   FOLDER/purges.base, purges.log                     purge_log.h
//   FOLDER/index.A, index.B, clean                     master/disk_owner.h
#pragma once

#include "common/os/fd.h"
#include "common/shm/disk_object.h"

#include <sys/uio.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace ladle::shm {

/// The name of an object's file, relative to the folder.
struct DiskFileName {
    char text[24];
    explicit DiskFileName(std::uint64_t number) noexcept;
};
/// The number that a name in subfolder `folder` (0 … 255) stands for; 0 = it is none of ours.
std::uint64_t disk_number_of(unsigned folder, std::string_view name) noexcept;

inline constexpr int kDiskFileBad = 1 << 16; ///< beside errno values: what was read is not what was written

/// An object's file that is open for reading. `body`: its first bytes, whole blocks of it, which came with the header, checked.
struct DiskFile {
    os::Fd fd;
    DiskHeader header;
    std::string body;
};

/// Whether a function may wait for the disk, or gives up (EAGAIN, or as the file system says) where the kernel has not all of it in
/// memory. Worth trying in the loop before the pool is asked: of 1 000 loads of 1 KB that the page cache had, one after the other, the
/// median took 19 µs instead of 26 and 16 µs of CPU instead of 23; with 16 at once 190 µs instead of 260, and 13 µs instead of 17.
enum class DiskWait : std::uint8_t { allowed, never };

/// Opens a file and reads its header, and with `with_body` the first blocks of the body. 0, an errno, or kDiskFileBad. Without waiting
/// only small files.
int open_disk_file(int folder, std::uint64_t number, bool with_body, DiskFile& out, DiskWait wait = DiskWait::allowed);

/// Reads and checks blocks of the body from byte `offset` (of a block's begin) on, at most `most` bytes. 0, an errno, or kDiskFileBad.
int read_disk_blocks(const DiskFile& file, std::uint64_t offset, std::size_t most, std::string& out);

/// Where a body to be written lies: in memory, or in a file.
struct DiskBody {
    std::vector<iovec> memory;
    int file = -1;
};

/// Writes an object's file: first under another name (its own with ".new"), so that none is ever seen half written. No fsync: what a
/// power failure leaves is told by the hashes. Gives up (ECANCELED) when `is_cancelled` becomes true. 0 or an errno.
int write_disk_file(int folder, const DiskObject& object, const DiskBody& body, const std::atomic<bool>& is_cancelled);

/// The unfinished one too, where a writer died. 0 also when there was none.
int unlink_disk_file(int folder, std::uint64_t number) noexcept;

/// Writes a small file whole, under another name first. 0 or an errno; with `is_durable` it is on the disk then.
int replace_file(int folder, const char* name, std::string_view content, bool is_durable);
/// "" when it is not there, not to be read, or larger.
std::string read_file(int folder, const char* name, std::size_t most);

} // namespace ladle::shm
