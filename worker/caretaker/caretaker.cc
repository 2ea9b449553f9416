// SPDX-License-Identifier: Apache-2.0
#include "worker/caretaker/caretaker.h"

#include "common/base/assert.h"
#include "common/config/bundle.h"
#include "common/ipc/messages.h"
#include "common/loop/loop.h"
#include "common/os/log.h"
#include "common/os/process.h"
#include "worker/caretaker/name_book.h"

#include <signal.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <memory>
#include <string>
#include <utility>

namespace ladle::worker {

namespace {

constexpr loop::Nanos kSettleLimit = 1'000'000'000; ///< how long a start or a reload waits for names

shm::ProcessRow* g_caretaker_row = nullptr;

constexpr std::chrono::milliseconds kLastWords{200}; // for log lines to get out when the process ends

void leave_note(const char* text) noexcept
{
    std::snprintf(g_caretaker_row->note, sizeof g_caretaker_row->note, "%s", text);
}

class Caretaker {
public:
    explicit Caretaker(ipc::Inheritance inheritance)
        : inherited_(std::move(inheritance)), row_(inherited_.arena->regions().rows[inherited_.row])
    {
    }

    /// The exit status.
    int run();

private:
    Result<void> init();
    static void on_channel(void* self, loop::Ready);
    void on_message(ipc::Message message);
    void on_prepare(ipc::Message message);
    void on_new_logs(ipc::Message message);
    void on_commit(std::uint64_t generation);
    void on_tick();
    void answer_when_settled(ipc::MessageType type, std::uint64_t generation);
    void drain() { stop(); } // nothing here is worth waiting for
    void stop() { loop_->stop(); }

    void tell(ipc::MessageType type, std::uint64_t generation, std::string text = {});

    ipc::Inheritance inherited_;
    shm::ProcessRow& row_;
    std::unique_ptr<loop::Loop> loop_;
    loop::Watch channel_;
    loop::Signal terminate_;
    std::shared_ptr<const config::Config> config_;
    std::shared_ptr<const config::Config> prepared_;
    std::unique_ptr<NameBook> names_;
    ipc::MessageType owed_{}; ///< to say when all names are answered
    std::uint64_t owed_generation_ = 0;
    loop::Nanos owed_by_ = loop::kNever; ///< at the latest; kNever = nothing owed
};

int Caretaker::run()
{
    if (auto started = init(); !started) {
        os::log(os::Level::error, "the caretaker cannot start", {{"reason", started.error().detail}});
        tell(ipc::MessageType::refused, inherited_.generation, started.error().detail);
        return 1;
    }
    loop_->run();
    channel_.stop();
    names_.reset();
    return 0;
}

Result<void> Caretaker::init()
{
    g_caretaker_row = &row_;
    set_assert_note(&leave_note);
    if (auto dropped = os::drop_privileges(inherited_.uid, inherited_.gid, inherited_.master_pid, SIGTERM); !dropped) {
        return dropped;
    }
    os::start_log_buffer();
    auto loop = loop::Loop::make();
    if (!loop) {
        return std::unexpected(loop.error());
    }
    loop_ = std::move(*loop);
    for (const int number : {SIGINT, SIGHUP, SIGUSR1, SIGUSR2, SIGPIPE}) {
        ::signal(number, SIG_IGN);
    }
    if (auto watching = terminate_.start(
            *loop_, SIGTERM, [](void* self, int) { static_cast<Caretaker*>(self)->drain(); }, this);
        !watching) {
        return watching;
    }
    config::LoadResult loaded = config::load_bundle(inherited_.bundle.get());
    inherited_.bundle.reset();
    if (!loaded.config) {
        return fail(Origin::local, "the configuration bundle is not good: " + config::to_text(loaded.diagnostics));
    }
    config_ = std::move(loaded.config);
    row_.config_generation.store(config_->generation, std::memory_order_relaxed);
    names_ = std::make_unique<NameBook>(*loop_, inherited_.arena->regions());
    if (auto ready = names_->init(); !ready) {
        return ready;
    }
    if (auto watching = channel_.start(*loop_, inherited_.control.get(), loop::WatchMode::level_read, &Caretaker::on_channel, this);
        !watching) {
        return watching;
    }
    loop_->set_tick([](void* self) { static_cast<Caretaker*>(self)->on_tick(); }, this);
    names_->add(*config_);
    answer_when_settled(ipc::MessageType::ready, inherited_.generation);
    return {};
}

void Caretaker::on_channel(void* self, loop::Ready)
{
    auto& caretaker = *static_cast<Caretaker*>(self);
    for (;;) {
        auto message = ipc::receive(caretaker.inherited_.control.get());
        if (message) {
            caretaker.on_message(std::move(*message));
            continue;
        }
        if (message.error().code != EAGAIN) {
            caretaker.channel_.stop();
            caretaker.drain(); // the master is gone
        }
        return;
    }
}

void Caretaker::on_message(ipc::Message message)
{
    switch (message.type) {
    case ipc::MessageType::prepare_config:
        return on_prepare(std::move(message));
    case ipc::MessageType::commit_config:
        return on_commit(message.generation);
    case ipc::MessageType::abort_config:
        prepared_.reset();
        owed_by_ = owed_ == ipc::MessageType::ready ? owed_by_ : loop::kNever;
        return names_->keep_only(*config_);
    case ipc::MessageType::new_logs:
        return on_new_logs(std::move(message));
    case ipc::MessageType::drain:
        return drain();
    case ipc::MessageType::stop:
        return stop();
    default:
        LADLE_ASSERT(!"a message that no master sends to the caretaker");
    }
}

void Caretaker::on_prepare(ipc::Message message)
{
    LADLE_ASSERT(message.descriptors.size() == 1);
    config::LoadResult loaded = config::load_bundle(message.descriptors[0].get());
    if (!loaded.config) {
        return tell(ipc::MessageType::refused, message.generation, config::to_text(loaded.diagnostics));
    }
    if (owed_by_ != loop::kNever) { // still starting: say that first
        tell(owed_, owed_generation_);
        row_.state.store(shm::State::ready, std::memory_order_release);
    }
    prepared_ = std::move(loaded.config);
    names_->add(*prepared_);
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
        config_ = std::exchange(prepared_, nullptr);
        names_->keep_only(*config_);
        row_.config_generation.store(config_->generation, std::memory_order_relaxed);
        os::set_log_level(static_cast<os::Level>(config_->log.error_level));
    }
    tell(ipc::MessageType::committed, generation);
}

void Caretaker::on_tick()
{
    row_.heartbeat_ns.store(loop::clock_now(), std::memory_order_relaxed);
    names_->on_tick();
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

void Caretaker::tell(ipc::MessageType type, std::uint64_t generation, std::string text)
{
    ipc::Message message;
    message.type = type;
    message.generation = generation;
    message.text = std::move(text);
    std::ignore = ipc::send(inherited_.control.get(), message);
}

} // namespace

void run_caretaker(ipc::Inheritance inheritance)
{
    os::set_title("ladle: caretaker");
    os::set_log_descriptor(inheritance.error_log.get());
    os::set_log_origin("caretaker");
    int status = 0;
    {
        Caretaker caretaker(std::move(inheritance));
        status = caretaker.run();
    }
    os::finish_log(kLastWords);
    ::_exit(status);
}

} // namespace ladle::worker
