// SPDX-License-Identifier: Apache-2.0
//
// Task<T>: a coroutine that its holder owns. It starts when awaited (or by start() for an outermost one) and destroying the Task
// destroys the frame and everything in it, however deep: cancellation is destruction, so every awaiter deregisters in its
// destructor. Frames come from per-process free lists, so a request costs no malloc in the steady state.
//
// g++ 12: use co_await only as a whole statement or as the initialiser of a local, and no capturing lambda as a coroutine.
#pragma once

#include "common/base/assert.h"
#include "common/loop/loop.h"

#include <coroutine>
#include <cstddef>
#include <exception>
#include <optional>
#include <utility>

namespace ladle::loop {

/// Free lists of coroutine frames in steps of 64 bytes to 16 KiB; larger ones go to the heap.
void* allocate_frame(std::size_t bytes);
void release_frame(void* frame, std::size_t bytes) noexcept;

template <typename T = void>
class Task;

namespace detail {

struct PromiseBase {
    std::coroutine_handle<> continuation = std::noop_coroutine();

    static void* operator new(std::size_t bytes) { return allocate_frame(bytes); }
    static void operator delete(void* frame, std::size_t bytes) noexcept { release_frame(frame, bytes); }

    struct Final {
        bool await_ready() const noexcept { return false; }
        template <typename P>
        std::coroutine_handle<> await_suspend(std::coroutine_handle<P> self) const noexcept
        {
            return self.promise().continuation;
        }
        void await_resume() const noexcept {}
    };

    std::suspend_always initial_suspend() const noexcept { return {}; }
    Final final_suspend() const noexcept { return {}; }
    [[noreturn]] void unhandled_exception() const noexcept { std::terminate(); }
};

template <typename T>
struct Promise : PromiseBase {
    std::optional<T> value;
    Task<T> get_return_object() noexcept;
    template <typename U>
    void return_value(U&& v)
    {
        value.emplace(std::forward<U>(v));
    }
};

template <>
struct Promise<void> : PromiseBase {
    Task<void> get_return_object() noexcept;
    void return_void() const noexcept {}
};

} // namespace detail

template <typename T>
class [[nodiscard]] Task {
public:
    using promise_type = detail::Promise<T>;
    using Handle = std::coroutine_handle<promise_type>;

    Task() = default;
    explicit Task(Handle handle) noexcept : handle_(handle) {}
    Task(Task&& other) noexcept : handle_(std::exchange(other.handle_, {})) {}
    Task& operator=(Task&& other) noexcept
    {
        if (this != &other) {
            destroy();
            handle_ = std::exchange(other.handle_, {});
        }
        return *this;
    }
    ~Task() { destroy(); }

    /// Runs an outermost task up to its first wait. The owner must not destroy it from within itself.
    void start() { handle_.resume(); }
    bool is_done() const noexcept { return !handle_ || handle_.done(); }
    explicit operator bool() const noexcept { return static_cast<bool>(handle_); }

    struct Awaiter {
        Handle handle;
        bool await_ready() const noexcept { return false; }
        std::coroutine_handle<> await_suspend(std::coroutine_handle<> waiting) const noexcept
        {
            handle.promise().continuation = waiting;
            return handle;
        }
        T await_resume() const
        {
            if constexpr (!std::is_void_v<T>) {
                return std::move(*handle.promise().value);
            }
        }
    };
    Awaiter operator co_await() const& noexcept { return Awaiter{handle_}; }
    Awaiter operator co_await() const&& noexcept { return Awaiter{handle_}; }

private:
    void destroy() noexcept
    {
        if (handle_) {
            std::exchange(handle_, {}).destroy();
        }
    }
    Handle handle_;
};

namespace detail {

template <typename T>
Task<T> Promise<T>::get_return_object() noexcept
{
    return Task<T>(std::coroutine_handle<Promise>::from_promise(*this));
}

inline Task<void> Promise<void>::get_return_object() noexcept
{
    return Task<void>(std::coroutine_handle<Promise>::from_promise(*this));
}

} // namespace detail

/// What one coroutine waits on while others (sockets, timers, other exchanges) may have news for it. Kicks are remembered, so the
/// pattern is: do all that can be done, `co_await wake.wait()`, look again. At most one waiter.
class Wake {
public:
    explicit Wake(Loop& loop) noexcept : loop_(loop), posted_(&Wake::on_posted, this) {}
    Wake(const Wake&) = delete;
    Wake& operator=(const Wake&) = delete;

    /// From an event callback: the waiter runs at once.
    void kick() noexcept
    {
        if (waiter_) {
            std::exchange(waiter_, {}).resume();
        } else {
            pending_ = true;
        }
    }
    /// From anywhere, also from another coroutine: the waiter runs in the loop's next turn.
    void kick_later() noexcept { posted_.post(loop_); }

    struct Awaiter {
        Wake& wake;
        bool await_ready() const noexcept { return std::exchange(wake.pending_, false); }
        void await_suspend(std::coroutine_handle<> h) noexcept
        {
            LADLE_ASSERT(!wake.waiter_);
            wake.waiter_ = h;
        }
        void await_resume() const noexcept {}
    };
    /// If the awaiting frame is destroyed while it waits, the Wake must not be kicked any more (it is owned by the same session).
    Awaiter wait() noexcept { return Awaiter{*this}; }
    Loop& loop() const noexcept { return loop_; }
    /// What kick_later() posts: for those who only know how to post.
    Posted& news() noexcept { return posted_; }
    const Posted& news() const noexcept { return posted_; }

private:
    static void on_posted(void* self) { static_cast<Wake*>(self)->kick(); }
    Loop& loop_;
    std::coroutine_handle<> waiter_;
    bool pending_ = false;
    Posted posted_;
};

} // namespace ladle::loop
