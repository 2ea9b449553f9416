// SPDX-License-Identifier: Apache-2.0
#include "worker/role.h"

#include "common/base/assert.h"
#include "common/config/bundle.h"
#include "common/os/leave.h"
#include "common/os/log.h"
#include "common/os/process.h"

#include <malloc.h>
#include <signal.h>

#include <cerrno>
#include <cstdio>
#include <string_view>
#include <tuple>

namespace ladle::worker {

namespace {

constexpr std::chrono::milliseconds kLastWords{200}; // for log lines to get out when the process ends

shm::ProcessRow* g_own_row = nullptr;

void leave_note(const char* text) noexcept
{
    std::snprintf(g_own_row->note, sizeof g_own_row->note, "%s", text);
    os::finish_log(kLastWords);
}

} // namespace

Role::Role(ipc::Inheritance inheritance, const char* name)
    : inherited_(std::move(inheritance)), row_(inherited_.arena->regions().rows[inherited_.row]), name_(name)
{
}

int Role::run()
{
    if (auto entered = enter(); !entered) {
        os::log(os::Level::error, std::string(name_) + " cannot start", {{"reason", entered.error().detail}});
        tell(ipc::MessageType::refused, inherited_.generation, entered.error().detail);
        let_go();
        return 1;
    }
    begin();
    loop_->run();
    let_go();
    return 0;
}

void Role::let_go()
{
    channel_.stop();
    terminate_.stop();
    close();
}

Result<void> Role::enter()
{
    g_own_row = &row_;
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
    if (auto watching = watch_signals(); !watching) {
        return watching;
    }
    if (auto loaded = load_configuration(); !loaded) {
        return loaded;
    }
    if (auto made = init(); !made) {
        return made;
    }
    return listen_to_master();
}

Result<void> Role::watch_signals()
{
    // A terminal sends these to the whole group; the master decides what they mean and tells us.
    for (const int number : {SIGINT, SIGHUP, SIGUSR1, SIGUSR2, SIGPIPE}) {
        ::signal(number, SIG_IGN);
    }
    return terminate_.start(
        *loop_, SIGTERM, [](void* self, int) { static_cast<Role*>(self)->on_terminate(); }, this);
}

Result<void> Role::load_configuration()
{
    config::LoadResult loaded = config::load_bundle(inherited_.bundle.get());
    inherited_.bundle.reset();
    if (!loaded.config) {
        return fail(Origin::local, "the configuration bundle is not good: " + config::to_text(loaded.diagnostics));
    }
    adopt(std::move(loaded.config));
    ::malloc_trim(0);
    return {};
}

Result<void> Role::listen_to_master()
{
    if (auto watching = channel_.start(*loop_, inherited_.control.get(), loop::WatchMode::level_read, &Role::on_channel, this);
        !watching) {
        return watching;
    }
    loop_->set_tick([](void* self) { static_cast<Role*>(self)->on_tick(); }, this);
    return {};
}

void Role::on_channel(void* self, loop::Ready)
{
    auto& role = *static_cast<Role*>(self);
    for (;;) {
        auto message = ipc::receive(role.inherited_.control.get());
        if (message) {
            role.on_message(std::move(*message));
            continue;
        }
        if (message.error().code != EAGAIN) {
            role.channel_.stop();
            role.on_master_gone();
        }
        return;
    }
}

std::shared_ptr<const config::Config> Role::load_prepared(const ipc::Message& message)
{
    LADLE_ASSERT(message.descriptors.size() == 1);
    config::LoadResult loaded = config::load_bundle(message.descriptors[0].get());
    if (!loaded.config) {
        tell(ipc::MessageType::refused, message.generation, config::to_text(loaded.diagnostics));
    }
    ::malloc_trim(0); // what it took to read thousands of sites is megabytes, and not needed again before the next reload
    return std::move(loaded.config);
}

void Role::adopt(std::shared_ptr<const config::Config> config)
{
    config_ = std::move(config);
    row_.config_generation.store(config_->generation, std::memory_order_relaxed);
    os::set_log_level(static_cast<os::Level>(config_->log.error_level));
}

void Role::tell(ipc::MessageType type, std::uint64_t generation, std::string text, std::uint64_t number)
{
    ipc::Message message;
    message.type = type;
    message.generation = generation;
    message.number = number;
    message.text = std::move(text);
    // A master that is gone shows as the end of the channel.
    std::ignore = ipc::send(inherited_.control.get(), message);
}

void enter_role(const ipc::Inheritance& inheritance, const std::string& title, const std::string& log_origin)
{
    os::set_title(title);
    os::set_log_descriptor(inheritance.error_log.get());
    os::set_log_origin(log_origin);
}

void leave_role(int status)
{
    os::finish_log(kLastWords);
    os::leave(status);
}

} // namespace ladle::worker
