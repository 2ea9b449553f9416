// SPDX-License-Identifier: Apache-2.0
//
// The bundle: one configuration, whole and immutable, in a sealed memfd. The master makes it from what a load() read; every worker
// (the first, a replacement, one that reloads) builds its Config from it. Sealed, so that no process can change it under another.
//
//   "LADLEBDL" | version u32 | reserved u32 | generation u64 | body bytes u64 | XXH3 of the body u64 | body
//   body: main path, then a count and (path, text) for each file, then a count and (pattern, count, paths) for each expansion, then
//   a count and (path, text) for each file that the Config keeps: those are not copied when a bundle is opened, it stays mapped.
//   A text is its length (u64) and its bytes. Little-endian, as the machine is: a bundle never leaves it.
#pragma once

#include "common/config/file_source.h"
#include "common/config/loader.h"
#include "common/os/fd.h"

#include <cstdint>
#include <string>

namespace ladle::config {

/// A sealed memfd that holds the recording. Fails where the kernel refuses memory.
Result<os::Fd> make_bundle(const Recording& recording, const std::string& main_path, std::uint64_t generation);

struct Bundle {
    BundleFiles files;
    std::string main_path;
    std::uint64_t generation = 0;
};

/// Reads a bundle. Fails if it is none, not sealed, or damaged. `fd` stays open and its offset is not used.
Result<Bundle> open_bundle(int fd);

/// open_bundle() and load() in one: what a worker does. A failure is a diagnostic.
LoadResult load_bundle(int fd);

} // namespace ladle::config
