// SPDX-License-Identifier: Apache-2.0
//
// Large pages for memory that processes share by a memfd. The kernel makes none there by itself (shmem_enabled is "never" in most
// places), and with single ones a lookup in a large table waits more for page tables than for the table. MADV_COLLAPSE (Linux 6.1)
// makes one of 512 single ones, whatever that setting says unless it is "deny".
#pragma once

#include <cstddef>

namespace ladle::os {

inline constexpr std::size_t kLargePage = std::size_t{2} << 20;

/// Whether the kernel can do that.
bool can_gather_pages() noexcept;

/// Makes one page of the kLargePage bytes at `begin`, a multiple of that in memory and in the file, if each of them has memory
/// already: nothing is taken that was not in use. Copies them, in some milliseconds, while other processes that touch them wait.
/// False: not now. True also where it was one before.
bool gather_large_page(std::byte* begin) noexcept;

} // namespace ladle::os
