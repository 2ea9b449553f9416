// SPDX-License-Identifier: Apache-2.0
#include "common/shm/disk_files.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstdio>
#include <cstring>

namespace ladle::shm {

namespace {

constexpr std::size_t kFirstRead = std::size_t{128} << 10; ///< the header and the whole of most bodies
constexpr std::size_t kNameDigits = 16;
constexpr std::uint64_t kSmallFile = std::uint64_t{16} << 10; ///< that is read and hashed in the loop: some microseconds

/// In front of a body of unknown length, a hole: files of more than kSmallFile are asked for a header of their own.
constexpr std::uint64_t kBlindRoom = std::uint64_t{64} << 10;
constexpr std::uint64_t kMostSpared = std::uint64_t{16} << 20; ///< of the disk, when such a body is written
static_assert(kBlindRoom > kSmallFile);
constexpr std::uint64_t kReservedFrom = std::uint64_t{1} << 20; ///< such bodies take their room before they are written
constexpr std::string_view kUnfinished = ".new";
constexpr std::string_view kHead = ".head";
constexpr std::string_view kUnfinishedHead = ".head.new";

/// What a file is called while it is written, or the one of a newer header.
struct SideName {
    char text[40];
    SideName(std::uint64_t number, std::string_view suffix) noexcept
    {
        std::snprintf(text, sizeof text, "%s%.*s", DiskFileName(number).text, static_cast<int>(suffix.size()), suffix.data());
    }
};

std::int64_t unix_ms() noexcept
{
    timespec now{};
    ::clock_gettime(CLOCK_REALTIME, &now);
    return std::int64_t{now.tv_sec} * 1000 + now.tv_nsec / 1'000'000;
}

/// Reads exactly so much; 0, an errno, or kDiskFileBad where the file ends before.
int read_exactly(int fd, char* into, std::size_t bytes, std::uint64_t offset, DiskWait wait = DiskWait::allowed) noexcept
{
    for (std::size_t done = 0; done < bytes;) {
        const iovec rest{into + done, bytes - done};
        const auto at = static_cast<off_t>(offset + done);
        const ssize_t n = wait == DiskWait::never ? ::preadv2(fd, &rest, 1, at, RWF_NOWAIT) : ::pread(fd, rest.iov_base, rest.iov_len, at);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            return n < 0 ? errno : kDiskFileBad;
        }
        done += static_cast<std::size_t>(n);
    }
    return 0;
}

int write_exactly(int fd, const char* from, std::size_t bytes, std::uint64_t offset) noexcept
{
    for (std::size_t done = 0; done < bytes;) {
        const ssize_t n = ::pwrite(fd, from + done, bytes - done, static_cast<off_t>(offset + done));
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            return n < 0 ? errno : EIO;
        }
        done += static_cast<std::size_t>(n);
    }
    return 0;
}

/// The bytes of a body one after the other, wherever it lies.
class BodySource {
public:
    explicit BodySource(const DiskBody& body) noexcept : body_(body) {}

    int read(char* into, std::size_t bytes) noexcept
    {
        if (body_.file >= 0) {
            const int code = read_exactly(body_.file, into, bytes, offset_);
            offset_ += bytes;
            return code;
        }
        while (bytes > 0) {
            if (part_ == body_.memory.size()) {
                return EINVAL;
            }
            const iovec& part = body_.memory[part_];
            const std::size_t n = std::min(bytes, part.iov_len - offset_);
            std::memcpy(into, static_cast<const char*>(part.iov_base) + offset_, n);
            into += n;
            bytes -= n;
            offset_ += n;
            if (offset_ == part.iov_len) {
                ++part_;
                offset_ = 0;
            }
        }
        return 0;
    }

private:
    const DiskBody& body_;
    std::size_t part_ = 0;
    std::size_t offset_ = 0; ///< in the part, or in the file
};

/// A new file; its subfolder is made if it is not there.
os::Fd make_file(int folder, const char* path) noexcept
{
    constexpr int kFlags = O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW;
    os::Fd file(::openat(folder, path, kFlags, 0600));
    if (!file && errno == ENOENT) {
        const char subfolder[] = {path[0], path[1], '\0'};
        if (::mkdirat(folder, subfolder, 0700) == 0 || errno == EEXIST) {
            file.reset(::openat(folder, path, kFlags, 0600));
        }
    }
    return file;
}

os::Fd open_to_read(int folder, const char* path, DiskWait wait) noexcept
{
    constexpr int kFlags = O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK;
    if (wait == DiskWait::allowed) {
        return os::Fd(::openat(folder, path, kFlags));
    }
    open_how how{};
    how.flags = kFlags;
    how.resolve = RESOLVE_CACHED; // the folder's entries and the file's own may not be in memory either
    return os::Fd(static_cast<int>(::syscall(SYS_openat2, folder, path, &how, sizeof how)));
}

/// The whole of a file that holds a header and nothing else.
int read_head_file(int fd, std::uint64_t number, DiskHeader& out)
{
    struct stat status {};
    if (::fstat(fd, &status) != 0) {
        return errno;
    }
    if (!S_ISREG(status.st_mode) || status.st_size > static_cast<off_t>(kMostDiskHeaderBytes)) {
        return kDiskFileBad;
    }
    std::string bytes(static_cast<std::size_t>(status.st_size), '\0');
    if (const int code = read_exactly(fd, bytes.data(), bytes.size(), 0); code != 0) {
        return code;
    }
    return out.read(std::move(bytes)) && out.object().number == number ? 0 : kDiskFileBad;
}

/// The header in front of the body, and with `with_body` the blocks that came with it.
int read_front(int fd, std::uint64_t number, std::uint64_t size, bool with_body, DiskWait wait, DiskFile& out)
{
    std::string bytes(static_cast<std::size_t>(std::min<std::uint64_t>(size, with_body ? kFirstRead : 4096)), '\0');
    if (const int code = read_exactly(fd, bytes.data(), bytes.size(), 0, wait); code != 0) {
        return code;
    }
    const std::uint64_t header = DiskHeader::header_bytes_of(bytes);
    if (header == 0 || header > size) {
        return kDiskFileBad;
    }
    if (const std::size_t have = bytes.size(); header > have) {
        bytes.resize(header);
        if (const int code = read_exactly(fd, bytes.data() + have, header - have, have, wait); code != 0) {
            return code;
        }
    }
    std::string body = bytes.substr(header);
    bytes.resize(header);
    if (!out.header.read(std::move(bytes)) || out.header.object().number != number || out.header.file_bytes() != size) {
        return kDiskFileBad;
    }
    out.body_at = header;
    if (body.size() < out.header.object().body_bytes) {
        body.resize(body.size() / kDiskBlockBytes * kDiskBlockBytes);
    }
    out.body = std::move(body);
    return 0;
}

bool are_blocks_good(const DiskHeader& header, std::uint64_t first, std::string_view bytes) noexcept
{
    for (std::uint64_t number = first; !bytes.empty(); ++number) {
        if (!header.is_block_good(number, bytes.substr(0, kDiskBlockBytes))) {
            return false;
        }
        bytes.remove_prefix(std::min(bytes.size(), kDiskBlockBytes));
    }
    return true;
}

} // namespace

DiskFileName::DiskFileName(std::uint64_t number) noexcept
{
    std::snprintf(text, sizeof text, "%02x/%016llx", static_cast<unsigned>(number & 0xff), static_cast<unsigned long long>(number));
}

namespace {

/// 0 = it is none of ours.
std::uint64_t disk_number_of(unsigned folder, std::string_view name) noexcept
{
    std::uint64_t number = 0;
    const auto [end, status] = std::from_chars(name.data(), name.data() + name.size(), number, 16);
    const bool is_ours = name.size() == kNameDigits && status == std::errc() && end == name.data() + name.size() && (number & 0xff) == folder;
    return is_ours && name == DiskFileName(number).text + 3 ? number : 0;
}

} // namespace

DiskFileOwner disk_owner_of(unsigned folder, std::string_view name) noexcept
{
    const std::uint64_t number = disk_number_of(folder, name.substr(0, kNameDigits));
    const std::string_view suffix = name.substr(std::min(name.size(), kNameDigits));
    if (number == 0) {
        return {};
    }
    if (suffix.empty()) {
        return {DiskFileKind::object, number};
    }
    if (suffix == kHead) {
        return {DiskFileKind::head, number};
    }
    return suffix == kUnfinished || suffix == kUnfinishedHead ? DiskFileOwner{DiskFileKind::unfinished, number} : DiskFileOwner{};
}

int open_disk_file(int folder, std::uint64_t number, bool with_body, DiskFile& out, DiskWait wait)
{
    out.fd = open_to_read(folder, DiskFileName(number).text, wait);
    struct stat status {};
    if (!out.fd || ::fstat(out.fd.get(), &status) != 0) {
        return errno == ELOOP ? kDiskFileBad : errno;
    }
    if (!S_ISREG(status.st_mode) || status.st_size < static_cast<off_t>(kDiskPrefixBytes)) {
        return kDiskFileBad;
    }
    const auto size = static_cast<std::uint64_t>(status.st_size);
    if (wait == DiskWait::never && size > kSmallFile) {
        return EAGAIN;
    }
    os::Fd head;
    if (size > kSmallFile) { // only what is too large for memory has a header of its own
        head = open_to_read(folder, SideName(number, kHead).text, wait);
        if (!head && errno != ENOENT) {
            return errno == ELOOP ? kDiskFileBad : errno;
        }
    }
    int code = head ? read_head_file(head.get(), number, out.header) : read_front(out.fd.get(), number, size, with_body, wait, out);
    if (code == 0 && head) {
        const std::uint64_t body_bytes = out.header.object().body_bytes;
        if (size < body_bytes + kDiskPrefixBytes) {
            return kDiskFileBad;
        }
        out.body_at = size - body_bytes;
        return with_body ? read_disk_blocks(out, 0, kFirstRead, out.body) : 0;
    }
    if (code == 0 && !with_body) {
        out.body.clear();
    }
    return code == 0 && !are_blocks_good(out.header, 0, out.body) ? kDiskFileBad : code;
}

int read_disk_blocks(const DiskFile& file, std::uint64_t offset, std::size_t most, std::string& out)
{
    const std::uint64_t left = file.header.object().body_bytes - offset;
    out.resize(static_cast<std::size_t>(std::min<std::uint64_t>(left, most / kDiskBlockBytes * kDiskBlockBytes)));
    if (const int code = read_exactly(file.fd.get(), out.data(), out.size(), file.body_at + offset); code != 0) {
        return code;
    }
    return are_blocks_good(file.header, offset / kDiskBlockBytes, out) ? 0 : kDiskFileBad;
}

namespace {

/// False: the disk has not so much free; nothing is taken then, so that others who write notice nothing of it.
bool take_room(int fd, std::uint64_t bytes) noexcept
{
    struct statvfs room {};
    if (::fstatvfs(fd, &room) == 0 && room.f_blocks != 0 && bytes / room.f_frsize >= room.f_bavail) {
        return false;
    }
    return ::fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, static_cast<off_t>(bytes)) == 0 || errno != ENOSPC;
}

bool has_room_to_spare(int fd, std::uint64_t bytes) noexcept
{
    struct statvfs room {};
    if (::fstatvfs(fd, &room) != 0 || room.f_blocks == 0) { // a tmpfs without a limit
        return true;
    }
    const std::uint64_t spare = std::min<std::uint64_t>(kMostSpared, room.f_blocks * room.f_frsize / 64);
    return (bytes + spare) / room.f_frsize < room.f_bavail;
}

} // namespace

int DiskFileWriter::begin(const DiskObject& object)
{
    is_blind_ = object.body_bytes == kBodyUnknown;
    header_bytes_ = is_blind_ ? kBlindRoom : disk_header_bytes(object);
    if (header_bytes_ == 0) {
        return E2BIG;
    }
    file_ = make_file(folder_, SideName(object.number, kUnfinished).text);
    if (!file_) {
        return errno;
    }
    if (is_blind_) {
        return 0;
    }
    hashes_.reserve(disk_blocks_of(object.body_bytes));
    if (object.body_bytes < kReservedFrom || take_room(file_.get(), header_bytes_ + object.body_bytes)) {
        return 0;
    }
    file_.reset();
    ::unlinkat(folder_, SideName(object.number, kUnfinished).text, 0);
    return kDiskTooLarge;
}

int DiskFileWriter::append(std::string_view bytes)
{
    if (is_blind_ && !has_room_to_spare(file_.get(), bytes.size())) {
        return kDiskTooLarge;
    }
    for (std::size_t at = 0; at < bytes.size(); at += kDiskBlockBytes) {
        hashes_.push_back(hash_disk_block(bytes.substr(at, kDiskBlockBytes)));
    }
    const int code = write_exactly(file_.get(), bytes.data(), bytes.size(), header_bytes_ + written_);
    written_ += bytes.size();
    return code;
}

int DiskFileWriter::finish(const DiskObject& object)
{
    const std::string header = make_disk_header(object, hashes_);
    if ((!is_blind_ && header.size() != header_bytes_) || written_ != object.body_bytes || (is_blind_ && written_ == 0)) {
        return EINVAL;
    }
    const int code = is_blind_ ? replace_file(folder_, SideName(object.number, kHead).text, header, false)
                               : write_exactly(file_.get(), header.data(), header.size(), 0);
    if (code != 0) {
        return code;
    }
    file_.reset();
    const SideName unfinished(object.number, kUnfinished);
    return ::renameat(folder_, unfinished.text, folder_, DiskFileName(object.number).text) != 0 ? errno : 0;
}

namespace {

int write_body(DiskFileWriter& writer, std::uint64_t bytes, const DiskBody& body, const std::atomic<bool>& is_cancelled)
{
    BodySource source(body);
    std::string block;
    for (std::uint64_t done = 0; done < bytes; done += block.size()) {
        if (is_cancelled.load(std::memory_order_relaxed)) {
            return ECANCELED;
        }
        block.resize(static_cast<std::size_t>(std::min<std::uint64_t>(kDiskBlockBytes, bytes - done)));
        // Hashed where nobody else writes: what is hashed is what is written.
        int code = source.read(block.data(), block.size());
        code = code == 0 ? writer.append(block) : code;
        if (code != 0) {
            return code;
        }
    }
    return is_cancelled.load(std::memory_order_relaxed) ? ECANCELED : 0;
}

} // namespace

int write_disk_file(int folder, const DiskObject& object, const DiskBody& body, const std::atomic<bool>& is_cancelled)
{
    DiskFileWriter writer(folder);
    int code = writer.begin(object);
    code = code == 0 ? write_body(writer, object.body_bytes, body, is_cancelled) : code;
    code = code == 0 ? writer.finish(object) : code;
    if (code != 0) {
        ::unlinkat(folder, SideName(object.number, kUnfinished).text, 0);
    }
    return code;
}

int write_disk_head(int folder, const DiskObject& object)
{
    // One at a time, in all processes; whoever dies lets go of it.
    const os::Fd lock(::openat(folder, DiskFileName(object.number).text, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
    if (!lock || ::flock(lock.get(), LOCK_EX) != 0) {
        return errno;
    }
    DiskFile file;
    if (const int code = open_disk_file(folder, object.number, false, file); code != 0) {
        return code;
    }
    const DiskObject& old = file.header.object();
    if (old.hash != object.hash || old.body_bytes != object.body_bytes) {
        return kDiskFileBad;
    }
    if (old.stored_ms > object.stored_ms && old.stored_ms <= unix_ms()) {
        return 0;
    }
    if (disk_header_bytes(object) == 0) {
        return E2BIG;
    }
    return replace_file(folder, SideName(object.number, kHead).text, make_disk_header(object, file.header.blocks()), false);
}

int unlink_disk_file(int folder, std::uint64_t number) noexcept
{
    const int code = ::unlinkat(folder, DiskFileName(number).text, 0) == 0 ? 0 : errno;
    for (const std::string_view suffix : {kHead, kUnfinishedHead, kUnfinished}) { // of the last two the writer died
        ::unlinkat(folder, SideName(number, suffix).text, 0);
    }
    return code == ENOENT ? 0 : code;
}

int replace_file(int folder, const char* name, std::string_view content, bool is_durable)
{
    const std::string fresh = std::string(name) + ".new";
    const os::Fd file(::openat(folder, fresh.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600));
    if (!file) {
        return errno;
    }
    int code = write_exactly(file.get(), content.data(), content.size(), 0);
    if (code == 0 && is_durable && ::fsync(file.get()) != 0) {
        code = errno;
    }
    if (code == 0 && ::renameat(folder, fresh.c_str(), folder, name) != 0) {
        code = errno;
    }
    if (code != 0) {
        ::unlinkat(folder, fresh.c_str(), 0);
    } else if (is_durable) {
        ::fsync(folder);
    }
    return code;
}

std::string read_file(int folder, const char* name, std::size_t most)
{
    const os::Fd file(::openat(folder, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
    struct stat status {};
    if (!file || ::fstat(file.get(), &status) != 0 || !S_ISREG(status.st_mode) || static_cast<std::uint64_t>(status.st_size) > most) {
        return {};
    }
    std::string content(static_cast<std::size_t>(status.st_size), '\0');
    return read_exactly(file.get(), content.data(), content.size(), 0) == 0 ? content : std::string();
}

} // namespace ladle::shm
