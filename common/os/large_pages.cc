// SPDX-License-Identifier: Apache-2.0
#include "common/os/large_pages.h"

#include <sys/mman.h>

#include <algorithm>
#include <array>

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25 // glibc 2.36 does not know it yet
#endif

namespace ladle::os {

bool can_gather_pages() noexcept
{
    return ::madvise(nullptr, 0, MADV_COLLAPSE) == 0; // of no bytes: only whether it knows the advice
}

bool gather_large_page(std::byte* begin) noexcept
{
    std::array<unsigned char, kLargePage / 4096> pages;
    return ::mincore(begin, kLargePage, pages.data()) == 0 &&
           std::ranges::all_of(pages, [](unsigned char page) { return (page & 1) != 0; }) &&
           ::madvise(begin, kLargePage, MADV_COLLAPSE) == 0;
}

} // namespace ladle::os
