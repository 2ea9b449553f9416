// SPDX-License-Identifier: Apache-2.0
//
// Errands: work of a worker that no client's session carries, such as the rest of a fill, a fetch in the background, a copy for a
// mirror. Each is a task of its own, owned by the list from start() to its end; who owns the list bounds how many there are.
#pragma once

#include "common/loop/loop.h"
#include "common/loop/task.h"

#include <cstddef>
#include <memory>

namespace ladle::worker {

class Errands;

class Errand : public loop::Link {
public:
    Errand() = default;
    virtual ~Errand() = default;
    Errand(const Errand&) = delete;
    Errand& operator=(const Errand&) = delete;
    /// Whether another process reads what it brings: a drain waits for it.
    virtual bool is_awaited() const noexcept = 0;

private:
    friend class Errands;
    /// All that it does; ends with Errands::retire().
    virtual loop::Task<void> run() = 0;
    loop::Task<void> main_; ///< run(): destroyed first, as its frame uses all that the errand has
};

class Errands {
public:
    explicit Errands(loop::Loop& loop) noexcept : loop_(loop), reap_(&Errands::on_reap, this) {}
    ~Errands() { clear(); }
    Errands(const Errands&) = delete;
    Errands& operator=(const Errands&) = delete;

    /// Takes an errand over until it retires, and begins it.
    void start(std::unique_ptr<Errand> errand);
    /// The errand has ended; it is destroyed soon, outside its own code.
    void retire(Errand& errand) noexcept;
    /// Gives all of them up.
    void clear() noexcept;
    /// Those that have not ended.
    std::size_t size() const noexcept { return size_; }
    std::size_t awaited_count() const noexcept;

private:
    static void on_reap(void* self);
    static void destroy_all(loop::Link& errands) noexcept;

    loop::Loop& loop_;
    loop::Posted reap_;
    loop::Link under_way_;
    loop::Link ended_;
    std::size_t size_ = 0;
};

} // namespace ladle::worker
