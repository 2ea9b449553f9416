// SPDX-License-Identifier: Apache-2.0
//
// Anonymous files in memory (memfd): how immutable text and shared regions get from one process to another by descriptor.
#pragma once

#include "common/base/error.h"
#include "common/os/fd.h"

#include <memory>
#include <string>
#include <string_view>

namespace ladle::os {

/// A memfd with `content`, sealed against every change. `name` is for /proc only.
Result<Fd> make_sealed_file(const char* name, std::string_view content);

/// A memfd of `bytes` zero bytes, to be mapped shared; sealed against resizing.
Result<Fd> make_shared_file(const char* name, std::size_t bytes);

/// The whole content of a regular file or memfd, whatever its offset. At most `max_bytes`, else a failure.
Result<std::string> read_whole(int fd, std::size_t max_bytes);

/// A file's content as memory that all who map it share. Not in core dumps: it may hold keys.
class MappedFile {
public:
    /// The whole of a regular file or memfd that never shrinks, at most `max_bytes`.
    static Result<std::shared_ptr<const MappedFile>> map(int fd, std::size_t max_bytes);
    ~MappedFile();
    MappedFile(const MappedFile&) = delete;
    MappedFile& operator=(const MappedFile&) = delete;

    std::string_view text() const noexcept { return text_; }

private:
    explicit MappedFile(std::string_view text) noexcept : text_(text) {}
    std::string_view text_;
};

} // namespace ladle::os
