// SPDX-License-Identifier: Apache-2.0
#include "common/shm/disk_files.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
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

/// What a file is called while it is written.
struct UnfinishedName {
    char text[32];
    explicit UnfinishedName(std::uint64_t number) noexcept { std::snprintf(text, sizeof text, "%s.new", DiskFileName(number).text); }
};

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

os::Fd open_to_read(int folder, std::uint64_t number, DiskWait wait) noexcept
{
    constexpr int kFlags = O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK;
    if (wait == DiskWait::allowed) {
        return os::Fd(::openat(folder, DiskFileName(number).text, kFlags));
    }
    open_how how{};
    how.flags = kFlags;
    how.resolve = RESOLVE_CACHED; // the folder's entries and the file's own may not be in memory either
    return os::Fd(static_cast<int>(::syscall(SYS_openat2, folder, DiskFileName(number).text, &how, sizeof how)));
}

int write_body(int fd, std::uint64_t at, const DiskObject& object, const DiskBody& body, const std::atomic<bool>& is_cancelled,
               std::vector<std::uint64_t>& hashes)
{
    BodySource source(body);
    std::string block(static_cast<std::size_t>(std::min<std::uint64_t>(kDiskBlockBytes, object.body_bytes)), '\0');
    for (std::uint64_t done = 0; done < object.body_bytes;) {
        if (is_cancelled.load(std::memory_order_relaxed)) {
            return ECANCELED;
        }
        block.resize(static_cast<std::size_t>(std::min<std::uint64_t>(kDiskBlockBytes, object.body_bytes - done)));
        // Hashed where nobody else writes: what is hashed is what is written.
        if (const int code = source.read(block.data(), block.size()); code != 0) {
            return code;
        }
        hashes.push_back(hash_disk_block(block));
        if (const int code = write_exactly(fd, block.data(), block.size(), at + done); code != 0) {
            return code;
        }
        done += block.size();
    }
    return 0;
}

int write_all(int fd, std::uint64_t header_bytes, const DiskObject& object, const DiskBody& body, const std::atomic<bool>& is_cancelled)
{
    std::vector<std::uint64_t> hashes;
    if (const int code = write_body(fd, header_bytes, object, body, is_cancelled, hashes); code != 0) {
        return code;
    }
    const std::string header = make_disk_header(object, hashes);
    const int code = write_exactly(fd, header.data(), header.size(), 0);
    return code == 0 && is_cancelled.load(std::memory_order_relaxed) ? ECANCELED : code;
}

} // namespace

DiskFileName::DiskFileName(std::uint64_t number) noexcept
{
    std::snprintf(text, sizeof text, "%02x/%016llx", static_cast<unsigned>(number & 0xff), static_cast<unsigned long long>(number));
}

std::uint64_t disk_number_of(unsigned folder, std::string_view name) noexcept
{
    std::uint64_t number = 0;
    const auto [end, status] = std::from_chars(name.data(), name.data() + name.size(), number, 16);
    const bool is_ours = name.size() == kNameDigits && status == std::errc() && end == name.data() + name.size() && (number & 0xff) == folder;
    return is_ours && name == DiskFileName(number).text + 3 ? number : 0;
}

int open_disk_file(int folder, std::uint64_t number, bool with_body, DiskFile& out, DiskWait wait)
{
    out.fd = open_to_read(folder, number, wait);
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
    std::string bytes(static_cast<std::size_t>(std::min<std::uint64_t>(size, with_body ? kFirstRead : 4096)), '\0');
    if (const int code = read_exactly(out.fd.get(), bytes.data(), bytes.size(), 0, wait); code != 0) {
        return code;
    }
    const std::uint64_t header = DiskHeader::header_bytes_of(bytes);
    if (header == 0 || header > size) {
        return kDiskFileBad;
    }
    if (const std::size_t have = bytes.size(); header > have) {
        bytes.resize(header);
        if (const int code = read_exactly(out.fd.get(), bytes.data() + have, header - have, have, wait); code != 0) {
            return code;
        }
    }
    std::string body = bytes.substr(header);
    bytes.resize(header);
    if (!out.header.read(std::move(bytes)) || out.header.object().number != number || out.header.file_bytes() != size) {
        return kDiskFileBad;
    }
    if (!with_body) {
        return 0;
    }
    if (body.size() < out.header.object().body_bytes) {
        body.resize(body.size() / kDiskBlockBytes * kDiskBlockBytes);
    }
    for (std::size_t at = 0; at < body.size(); at += kDiskBlockBytes) {
        if (!out.header.is_block_good(at / kDiskBlockBytes, std::string_view(body).substr(at, kDiskBlockBytes))) {
            return kDiskFileBad;
        }
    }
    out.body = std::move(body);
    return 0;
}

int read_disk_blocks(const DiskFile& file, std::uint64_t offset, std::size_t most, std::string& out)
{
    const std::uint64_t left = file.header.object().body_bytes - offset;
    out.resize(static_cast<std::size_t>(std::min<std::uint64_t>(left, most / kDiskBlockBytes * kDiskBlockBytes)));
    if (const int code = read_exactly(file.fd.get(), out.data(), out.size(), file.header.bytes() + offset); code != 0) {
        return code;
    }
    for (std::size_t at = 0; at < out.size(); at += kDiskBlockBytes) {
        if (!file.header.is_block_good((offset + at) / kDiskBlockBytes, std::string_view(out).substr(at, kDiskBlockBytes))) {
            return kDiskFileBad;
        }
    }
    return 0;
}

int write_disk_file(int folder, const DiskObject& object, const DiskBody& body, const std::atomic<bool>& is_cancelled)
{
    const std::uint64_t header_bytes = disk_header_bytes(object);
    if (header_bytes == 0) {
        return E2BIG;
    }
    const UnfinishedName unfinished(object.number);
    int code = 0;
    {
        const os::Fd file = make_file(folder, unfinished.text);
        if (!file) {
            return errno;
        }
        code = write_all(file.get(), header_bytes, object, body, is_cancelled);
    }
    if (code == 0 && ::renameat(folder, unfinished.text, folder, DiskFileName(object.number).text) != 0) {
        code = errno;
    }
    if (code != 0) {
        ::unlinkat(folder, unfinished.text, 0);
    }
    return code;
}

int unlink_disk_file(int folder, std::uint64_t number) noexcept
{
    if (::unlinkat(folder, DiskFileName(number).text, 0) == 0) {
        return 0;
    }
    const int code = errno;
    if (code == ENOENT) {
        ::unlinkat(folder, UnfinishedName(number).text, 0); // its writer died
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
