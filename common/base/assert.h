// SPDX-License-Identifier: Apache-2.0
//
// LADLE_ASSERT: a broken invariant of our own ends this process (the master replaces a worker). It stays on in release builds, so
// keep it off the innermost loops. Input is never asserted: it gets an Error (error.h).
#pragma once

namespace ladle {

/// Called with the text just before the process aborts. A worker sets one that leaves a note in its row of shared memory.
using AssertNote = void (*)(const char* text) noexcept;
void set_assert_note(AssertNote note) noexcept;

[[noreturn]] void assert_failed(const char* what, const char* file, int line) noexcept;

} // namespace ladle

#define LADLE_ASSERT(condition) \
    (__builtin_expect(!!(condition), 1) ? static_cast<void>(0) : ::ladle::assert_failed(#condition, __FILE__, __LINE__))
