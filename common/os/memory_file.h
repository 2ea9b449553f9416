// SPDX-License-Identifier: Apache-2.0
//
// Anonymous files in memory (memfd): how immutable text and shared regions get from one process to another by descriptor.
#pragma once

#include "common/base/error.h"
#include "common/os/fd.h"

#include <string>
#include <string_view>

namespace ladle::os {

/// A memfd with `content`, sealed against every change. `name` is for /proc only.
Result<Fd> make_sealed_file(const char* name, std::string_view content);

/// A memfd of `bytes` zero bytes, to be mapped shared; sealed against resizing.
Result<Fd> make_shared_file(const char* name, std::size_t bytes);

/// The whole content of a regular file or memfd, whatever its offset. At most `max_bytes`, else a failure.
Result<std::string> read_whole(int fd, std::size_t max_bytes);

} // namespace ladle::os
