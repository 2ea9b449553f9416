// SPDX-License-Identifier: Apache-2.0
//
// The disk tier's folder: where an object's file lies in it, and reading, writing and unlinking one. Every function here may wait
// for a disk, but for open_disk_file() where it is told not to: in a worker and the caretaker they run in the pool of threads,
// never in the loop. They touch only what they are given.
//
//   FOLDER/<2 hex: low byte of the number>/<16 hex: number>     disk_object.h
//   FOLDER/../<16 hex: number>.head                    the object's newer header, which takes the first one's place (or its only one: DiskFileWriter)
//   FOLDER/../<name>.new                               being written
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
/// What kind of file a name in a subfolder stands for.
enum class DiskFileKind : std::uint8_t { object, head, unfinished, stranger };
struct DiskFileOwner {
    DiskFileKind kind = DiskFileKind::stranger;
    std::uint64_t number = 0; ///< of the object that it belongs to; 0 = it is none of ours
};
/// `folder`: the subfolder's number, 0 … 255.
DiskFileOwner disk_owner_of(unsigned folder, std::string_view name) noexcept;

// Beside errno values:
inline constexpr int kDiskFileBad = 1 << 16;  ///< what was read is not what was written
inline constexpr int kDiskTooLarge = 1 << 17; ///< for what the disk has free: nothing is wrong with it

/// An object's file that is open for reading. `body`: its first bytes, whole blocks of it, which came with the header, checked.
struct DiskFile {
    os::Fd fd;
    DiskHeader header;
    std::uint64_t body_at = 0; ///< where in the file the body begins
    std::string body;
};

/// Whether a function may wait for the disk, or gives up (EAGAIN, or as the file system says) where the kernel has not all of it in
/// memory. Worth trying in the loop before the pool is asked: of 1 000 loads of 1 KB that the page cache had, one after the other, the
/// median took 19 µs instead of 26 and 16 µs of CPU instead of 23; with 16 at once 190 µs instead of 260, and 13 µs instead of 17.
enum class DiskWait : std::uint8_t { allowed, never };

/// Opens a file and reads its header, and with `with_body` the first blocks of the body. 0, an errno, or kDiskFileBad. Without waiting
/// only small files.
int open_disk_file(int folder, std::uint64_t number, bool with_body, DiskFile& out, DiskWait wait = DiskWait::allowed);

/// Reads and checks blocks of the body from byte `offset` (of a block's begin) on, at most `most` bytes. 0, an errno, or
/// kDiskFileBad.
int read_disk_blocks(const DiskFile& file, std::uint64_t offset, std::size_t most, std::string& out);

/// An object's file that is being written, under another name (its own with ".new"), so that none is ever seen half written:
/// begin(), append() as the body comes, finish(). No fsync: what a power failure leaves is told by the hashes. What is not finished
/// is removed by unlink_disk_file(). All return 0, an errno, or kDiskTooLarge.
///
/// A body whose length nobody knows (kBodyUnknown) has a hole in front, and its header in a file of its own, which is written when the
/// length is known.
class DiskFileWriter {
public:
    /// `folder` is borrowed.
    explicit DiskFileWriter(int folder) noexcept : folder_(folder) {}

    /// Makes the file, with room for the header in front. Takes the disk's room for a large body at once, or says that there is
    /// none, and leaves no file then.
    int begin(const DiskObject& object);
    /// The next bytes of the body: whole blocks, but for its end. One of unknown length leaves a little of the disk to others.
    int append(std::string_view bytes);
    /// All of the body is there, and `object` says its length: writes the header and gives the file its name.
    int finish(const DiskObject& object);

private:
    int folder_;
    os::Fd file_;
    bool is_blind_ = false; ///< the body's length is not known
    std::uint64_t header_bytes_ = 0;
    std::uint64_t written_ = 0; ///< bytes of the body
    std::vector<std::uint64_t> hashes_;
};

/// Where a body to be written lies: in memory, or in a file.
struct DiskBody {
    std::vector<iovec> memory;
    int file = -1;
};

/// Writes an object's file. Gives up (ECANCELED) when `is_cancelled` becomes true. 0 or an errno.
int write_disk_file(int folder, const DiskObject& object, const DiskBody& body, const std::atomic<bool>& is_cancelled);

/// Gives an object's file another header: `object` says the same name, number and body. One that was written later stays, but for one
/// from after now: the clock was set back since. 0, an errno, or kDiskFileBad.
int write_disk_head(int folder, const DiskObject& object);

/// With all that belongs to it; the unfinished one too, where a writer died. 0 also when there was none.
int unlink_disk_file(int folder, std::uint64_t number) noexcept;

/// Writes a small file whole, under another name first. 0 or an errno; with `is_durable` it is on the disk then.
int replace_file(int folder, const char* name, std::string_view content, bool is_durable);
/// "" when it is not there, not to be read, or larger.
std::string read_file(int folder, const char* name, std::size_t most);

} // namespace ladle::shm
