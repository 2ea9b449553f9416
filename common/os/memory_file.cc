// SPDX-License-Identifier: Apache-2.0
#include "common/os/memory_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

namespace ladle::os {

Result<Fd> make_sealed_file(const char* name, std::string_view content)
{
    Fd file(::memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING));
    if (!file) {
        return fail_errno("cannot make a memory file", errno);
    }
    std::size_t done = 0;
    while (done < content.size()) {
        const ssize_t n = ::write(file.get(), content.data() + done, content.size() - done);
        if (n <= 0) {
            return fail_errno("cannot write a memory file", errno);
        }
        done += static_cast<std::size_t>(n);
    }
    if (::fcntl(file.get(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL) != 0) {
        return fail_errno("cannot seal a memory file", errno);
    }
    return file;
}

Result<Fd> make_shared_file(const char* name, std::size_t bytes)
{
    Fd file(::memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING));
    if (!file || ::ftruncate(file.get(), static_cast<off_t>(bytes)) != 0) {
        return fail_errno("cannot make a shared memory file", errno);
    }
    if (::fcntl(file.get(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0) {
        return fail_errno("cannot seal a shared memory file", errno);
    }
    return file;
}

Result<std::string> read_whole(int fd, std::size_t max_bytes)
{
    struct stat st {};
    if (::fstat(fd, &st) != 0) {
        return fail_errno("cannot read", errno);
    }
    std::string content;
    char block[65536];
    for (;;) {
        const ssize_t n = ::pread(fd, block, sizeof block, static_cast<off_t>(content.size()));
        if (n < 0) {
            return fail_errno("cannot read", errno);
        }
        if (n == 0) {
            return content;
        }
        content.append(block, static_cast<std::size_t>(n));
        if (content.size() > max_bytes) {
            return fail(Origin::local, "the file is too large");
        }
    }
}

Result<std::shared_ptr<const MappedFile>> MappedFile::map(int fd, std::size_t max_bytes)
{
    struct stat st {};
    if (::fstat(fd, &st) != 0) {
        return fail_errno("cannot read", errno);
    }
    const auto bytes = static_cast<std::size_t>(st.st_size);
    if (bytes > max_bytes) {
        return fail(Origin::local, "the file is too large");
    }
    if (bytes == 0) {
        return std::shared_ptr<const MappedFile>(new MappedFile({}));
    }
    void* at = ::mmap(nullptr, bytes, PROT_READ, MAP_SHARED, fd, 0);
    if (at == MAP_FAILED) {
        return fail_errno("cannot map", errno);
    }
    ::madvise(at, bytes, MADV_DONTDUMP);
    return std::shared_ptr<const MappedFile>(new MappedFile({static_cast<const char*>(at), bytes}));
}

MappedFile::~MappedFile()
{
    if (!text_.empty()) {
        ::munmap(const_cast<char*>(text_.data()), text_.size());
    }
}

} // namespace ladle::os
