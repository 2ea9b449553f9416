// SPDX-License-Identifier: Apache-2.0
#include "common/loop/task.h"

#include "common/base/sanitized.h"

#include <new>

namespace ladle::loop {

namespace {

constexpr std::size_t kStep = 64;
constexpr std::size_t kClasses = 16384 / kStep;
constexpr std::size_t kKeptPerClass = kIsAddressSanitized ? 0 : 256; // a burst's frames go back to the heap

struct FreeFrame {
    FreeFrame* next;
};

struct FreeList {
    FreeFrame* first = nullptr;
    std::size_t count = 0;
};

FreeList g_free[kClasses + 1]; // one event loop per process; I/O threads run no coroutines

} // namespace

void* allocate_frame(std::size_t bytes)
{
    const std::size_t size_class = (bytes + kStep - 1) / kStep;
    if (size_class <= kClasses) {
        FreeList& list = g_free[size_class];
        if (list.first != nullptr) {
            FreeFrame* frame = list.first;
            list.first = frame->next;
            --list.count;
            return frame;
        }
        return ::operator new(size_class * kStep);
    }
    return ::operator new(bytes);
}

void release_frame(void* frame, std::size_t bytes) noexcept
{
    const std::size_t size_class = (bytes + kStep - 1) / kStep;
    if (size_class <= kClasses && g_free[size_class].count < kKeptPerClass) {
        FreeList& list = g_free[size_class];
        list.first = ::new (frame) FreeFrame{list.first};
        ++list.count;
        return;
    }
    ::operator delete(frame);
}

} // namespace ladle::loop
