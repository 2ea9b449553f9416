// SPDX-License-Identifier: Apache-2.0
#include "worker/caretaker/caretaker.h"

#include "common/base/assert.h"
#include "common/os/log.h"
#include "worker/caretaker/agent_book.h"
#include "worker/caretaker/cache_sweep.h"
#include "worker/caretaker/disk_keeper.h"
#include "worker/caretaker/health_book.h"
#include "worker/caretaker/name_book.h"
#include "worker/caretaker/staple_book.h"
#include "worker/role.h"
#include "worker/tls/providers.h"

#include <memory>
#include <optional>
#include <string>
#include <tuple>
#include <utility>

namespace ladle::worker {

namespace {

constexpr loop::Nanos kSettleLimit = 1'000'000'000; ///< how long a start or a reload waits for names

class Caretaker final : public Role {
public:
    explicit Caretaker(ipc::Inheritance inheritance) : Role(std::move(inheritance), "the caretaker") {}

private:
    Result<void> init() override;
    void begin() override;
    void on_message(ipc::Message message) override;
    void on_tick() override;
    void on_terminate() override { stop(); } // nothing here is worth waiting for
    void on_master_gone() override { stop(); }
    void close() override
    {
        names_.reset();
        health_.reset();
        agents_.reset();
        staples_.reset();
        cache_.reset();
        disk_.reset();
    }

    void on_prepare(const ipc::Message& message);
    void on_new_logs(ipc::Message message);
    void on_commit(std::uint64_t generation);
    void answer_when_settled(ipc::MessageType type, std::uint64_t generation);

    std::unique_ptr<NameBook> names_;
    std::unique_ptr<HealthBook> health_;
    std::unique_ptr<AgentBook> agents_;
    std::unique_ptr<StapleBook> staples_;
    std::optional<CacheSweep> cache_;
    std::unique_ptr<DiskKeeper> disk_;
    ipc::MessageType owed_{}; ///< to say when all names are answered
    std::uint64_t owed_generation_ = 0;
    loop::Nanos owed_by_ = loop::kNever; ///< at the latest; kNever = nothing owed
};

Result<void> Caretaker::init()
{
    if (inherited_.cache != nullptr) {
        cache_.emplace(*inherited_.cache, inherited_.row, std::move(inherited_.cache_files));
    }
    if (inherited_.cache != nullptr && inherited_.disk_index != nullptr) {
        auto disk = DiskKeeper::make(*loop_, *inherited_.cache, *inherited_.disk_index, inherited_.row, row_,
                                     std::move(inherited_.disk_files));
        if (!disk) {
            return std::unexpected(disk.error());
        }
        disk_ = std::move(*disk);
    }
    staples_ = std::make_unique<StapleBook>(*loop_, inherited_.arena->regions(), row_);
    if (auto followed = staples_->follow(config_); !followed) {
        return followed;
    }
    health_ = std::make_unique<HealthBook>(*loop_, inherited_.arena->regions(), row_);
    agents_ = std::make_unique<AgentBook>(*loop_, inherited_.arena->regions(), row_);
    names_ = std::make_unique<NameBook>(*loop_, inherited_.arena->regions());
    return names_->init(*config_);
}

void Caretaker::begin()
{
    names_->add(*config_);
    health_->follow(config_);
    agents_->follow(config_);
    answer_when_settled(ipc::MessageType::ready, inherited_.generation);
}

void Caretaker::on_message(ipc::Message message)
{
    switch (message.type) {
    case ipc::MessageType::prepare_config:
        return on_prepare(message);
    case ipc::MessageType::commit_config:
        return on_commit(message.generation);
    case ipc::MessageType::abort_config:
        prepared_.reset();
        owed_by_ = owed_ == ipc::MessageType::ready ? owed_by_ : loop::kNever;
        return names_->abort(*config_);
    case ipc::MessageType::new_logs:
        return on_new_logs(std::move(message));
    case ipc::MessageType::drain:
    case ipc::MessageType::stop:
        return stop();
    default:
        LADLE_ASSERT(!"a message that no master sends to the caretaker");
    }
}

void Caretaker::on_prepare(const ipc::Message& message)
{
    auto loaded = load_prepared(message);
    if (!loaded) {
        return;
    }
    if (owed_by_ != loop::kNever) { // still starting: say that first
        tell(owed_, owed_generation_);
        row_.state.store(shm::State::ready, std::memory_order_release);
    }
    if (auto provided = use_providers(loaded->tls.providers); !provided) {
        return tell(ipc::MessageType::refused, message.generation, provided.error().detail);
    }
    if (auto prepared = names_->prepare(*loaded); !prepared) {
        return tell(ipc::MessageType::refused, message.generation, prepared.error().detail);
    }
    prepared_ = std::move(loaded);
    answer_when_settled(ipc::MessageType::prepared, message.generation);
}

void Caretaker::on_new_logs(ipc::Message message)
{
    const bool has_error = (message.number & 2u) != 0;
    if (has_error && message.descriptors.empty()) {
        return; // lost on the way for want of descriptors: the old one goes on
    }
    os::Fd error = has_error ? std::move(message.descriptors.back()) : os::Fd();
    os::set_log_descriptor(error.get());
    inherited_.error_log = std::move(error);
}

void Caretaker::on_commit(std::uint64_t generation)
{
    if (prepared_) {
        adopt(std::exchange(prepared_, nullptr));
        std::ignore = staples_->follow(config_); // fails only the first time
        health_->follow(config_);
        agents_->follow(config_);
        if (names_->commit(*config_)) {
            return answer_when_settled(ipc::MessageType::committed, generation); // the first request shall meet the new answers
        }
    }
    tell(ipc::MessageType::committed, generation);
}

void Caretaker::on_tick()
{
    row_.heartbeat_ns.store(loop::clock_now(), std::memory_order_relaxed);
    names_->on_tick();
    health_->on_tick();
    agents_->on_tick();
    staples_->on_tick();
    if (cache_) {
        cache_->on_tick();
    }
    if (disk_) {
        disk_->on_tick();
    }
    if (owed_by_ != loop::kNever && (names_->is_settled() || loop_->now() >= owed_by_)) {
        owed_by_ = loop::kNever;
        row_.state.store(shm::State::ready, std::memory_order_release);
        tell(owed_, owed_generation_);
    }
}

void Caretaker::answer_when_settled(ipc::MessageType type, std::uint64_t generation)
{
    owed_ = type;
    owed_generation_ = generation;
    owed_by_ = names_->is_settled() ? 0 : loop_->now() + kSettleLimit;
    if (owed_by_ == 0) {
        on_tick();
    }
}

} // namespace

void run_caretaker(ipc::Inheritance inheritance)
{
    live_as<Caretaker>(std::move(inheritance), "ladle: caretaker", "caretaker");
}

} // namespace ladle::worker
