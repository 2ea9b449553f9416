// SPDX-License-Identifier: Apache-2.0
//
// The cache's folder on tmpfs, and what the master makes of the cache, hands over and repairs.
#include "master/acting_as.h"
#include "master/cache_folder.h"
#include "master/cache_owner.h"

#include <doctest/doctest.h>

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

using namespace ladle;
using master::CacheFolder;
using master::CacheOwner;

namespace {

/// A folder for folders, removed with everything in it.
struct Place {
    Place() { REQUIRE(::mkdtemp(path) != nullptr); }
    ~Place() { std::filesystem::remove_all(path); }
    std::ptrdiff_t count() const
    {
        return std::distance(std::filesystem::directory_iterator(path), std::filesystem::directory_iterator());
    }
    char path[32] = "/tmp/ladle-place-XXXXXX";
};

config::Cache settings(const Place& place, std::uint64_t memory_bytes = 8u << 20)
{
    config::Cache cache;
    cache.memory_bytes = memory_bytes;
    cache.files = place.path;
    return cache;
}

bool rings(int bell)
{
    pollfd ready{bell, POLLIN, 0};
    return ::poll(&ready, 1, 0) == 1;
}

/// The descriptors of a handover as an exec would leave them: open, and nobody's.
master::HandedCache copy_of(const master::HandedCache& handed)
{
    master::HandedCache copy = handed;
    copy.arena = handed.arena < 0 ? -1 : ::dup(handed.arena);
    copy.files = handed.files < 0 ? -1 : ::dup(handed.files);
    for (int& bell : copy.bells) {
        bell = ::dup(bell);
    }
    return copy;
}

void store(CacheOwner& owner, std::string_view url)
{
    shm::CacheObject object;
    object.name = owner.store()->name(url);
    object.epoch = owner.store()->purges().epoch();
    object.body_bytes = 4;
    REQUIRE(owner.store()->store(object, "body"));
}

} // namespace

TEST_CASE("the cache's folder is ours alone, and goes with what is in it")
{
    const Place place;
    auto folder = CacheFolder::make(place.path, 0, 0);
    REQUIRE(folder);
    CHECK(folder->path().starts_with(std::string(place.path) + "/ladle-cache-"));
    CHECK(folder->parent() == place.path);
    struct stat status {};
    REQUIRE(::fstat(folder->fd(), &status) == 0);
    CHECK((status.st_mode & 07777) == 0700);
    CHECK(::faccessat(folder->fd(), ".", W_OK, 0) == 0);
    const os::Fd file(::openat(folder->fd(), "1", O_RDWR | O_CREAT, 0600));
    REQUIRE(file);

    CHECK(master::remove_unused(place.path, ::geteuid()) == 0); // it is locked
    CHECK(place.count() == 1);
    folder->remove();
    CHECK_FALSE(*folder);
    CHECK(place.count() == 0);
}

TEST_CASE("the cache's own tmpfs: in no folder, of the workers' user, kept as long as it is open, with a bound")
{
    auto folder = CacheFolder::mount(1u << 20, 12345, 12346);
    if (!folder) {
        MESSAGE("not allowed here: " << folder.error().detail);
        return;
    }
    CHECK(folder->path().empty());
    CHECK(folder->parent().empty());
    struct stat status {};
    REQUIRE(::fstat(folder->fd(), &status) == 0);
    CHECK((status.st_mode & 07777) == 0700);
    CHECK(status.st_uid == 12345);
    CHECK(status.st_gid == 12346);
    const CacheFolder adopted = CacheFolder::adopt("", os::Fd(::dup(folder->fd())));
    folder->remove();
    const os::Fd file(::openat(adopted.fd(), "1", O_RDWR | O_CREAT, 0600));
    REQUIRE(file);
    CHECK(::fallocate(file.get(), 0, 0, 1 << 20) == 0);
    CHECK(::fallocate(file.get(), 0, 0, 2 << 20) != 0);
    CHECK(errno == ENOSPC);
    CHECK(::faccessat(adopted.fd(), "1", R_OK, 0) == 0);
}

TEST_CASE("a process that was forked does not remove the folder of the one before it")
{
    const Place place;
    auto folder = CacheFolder::make(place.path, 0, 0);
    REQUIRE(folder);
    const pid_t pid = ::fork();
    if (pid == 0) {
        *folder = CacheFolder();
        ::_exit(0);
    }
    int status = 0;
    REQUIRE(::waitpid(pid, &status, 0) == pid);
    CHECK(place.count() == 1);
    CHECK(master::remove_unused(place.path, ::geteuid()) == 0); // and the lock is held on
}

TEST_CASE("what a killed one left is removed, and nothing else")
{
    const Place place;
    const std::string left = std::string(place.path) + "/ladle-cache-0123456789abcdef";
    const std::string other = std::string(place.path) + "/other";
    const std::string strange = std::string(place.path) + "/ladle-cache-00000000000000ff";
    REQUIRE(::mkdir(left.c_str(), 0700) == 0);
    std::ofstream(left + "/1") << "body";
    REQUIRE(::mkdir(other.c_str(), 0700) == 0);
    std::ofstream(other + "/keep") << "x";
    REQUIRE(::symlink(other.c_str(), strange.c_str()) == 0);
    std::ofstream(std::string(place.path) + "/ladle-cache-fedcba9876543210") << "x";
    for (const char* const name :
         {"/ladle-test-x", "/ladle-cache-1", "/ladle-cache-0123456789abcdeg", "/ladle-cache-0123456789abcdef0"}) {
        REQUIRE(::mkdir((place.path + std::string(name)).c_str(), 0700) == 0);
        std::ofstream(place.path + std::string(name) + "/keep") << "x";
    }
    const std::string open = std::string(place.path) + "/ladle-cache-aaaaaaaaaaaaaaaa";
    REQUIRE(::mkdir(open.c_str(), 0755) == 0);
    CHECK(master::remove_unused(place.path, ::geteuid()) == 1);
    CHECK_FALSE(std::filesystem::exists(left));
    CHECK(std::filesystem::exists(other + "/keep"));
    CHECK(place.count() == 8);
    CHECK(std::filesystem::exists(std::string(place.path) + "/ladle-test-x/keep"));
    CHECK(master::remove_unused("/nowhere", ::geteuid()) == 0);
    CHECK_FALSE(CacheFolder::make("/nowhere", 0, 0));
    if (::geteuid() == 0) {
        REQUIRE(::mkdir(left.c_str(), 0700) == 0);
        REQUIRE(::chown(left.c_str(), 12345, 12345) == 0);
        CHECK(master::remove_unused(place.path, 0) == 0); // another's
        CHECK(master::remove_unused(place.path, 12345) == 1);
    }
}

TEST_CASE("without memory there is no cache; without a folder there is one for small bodies")
{
    const Place place;
    CacheOwner none;
    none.make(settings(place, 0), {});
    none.use_row(0);
    CHECK_FALSE(none.exists());
    CHECK(none.store() == nullptr);
    CHECK(none.hand_over().arena == -1);
    ipc::Inheritance inheritance;
    none.lend(inheritance);
    CHECK(inheritance.cache == nullptr);
    CHECK(inheritance.cache_bells.empty());
    CHECK(place.count() == 0);

    config::Cache elsewhere = settings(place);
    elsewhere.files = "/nowhere";
    CacheOwner small;
    small.make(elsewhere, {});
    small.use_row(0);
    CHECK(small.exists());
    CHECK_FALSE(small.has_files());
    store(small, "http://a.test/");
}

TEST_CASE("children inherit the cache, and the dead one's row is repaired and its waiters are woken")
{
    const Place place;
    CacheOwner owner;
    owner.make(settings(place), {});
    owner.use_row(0);
    REQUIRE(owner.store() != nullptr);
    ipc::Inheritance inheritance;
    owner.lend(inheritance);
    REQUIRE(inheritance.cache != nullptr);
    CHECK(inheritance.cache_files.get() >= 0);
    REQUIRE(inheritance.cache_bells.size() == shm::kMaxProcesses);

    shm::CacheStore dead(*inheritance.cache, 7);
    shm::CacheStore waiting(*inheritance.cache, 9);
    const shm::CacheName name = dead.name("http://a.test/");
    REQUIRE(dead.fills().claim(name.hash, 1).outcome == shm::ClaimOutcome::mine);
    REQUIRE(waiting.fills().claim(name.hash, 1).outcome == shm::ClaimOutcome::others);
    owner.repair(-1);
    CHECK(owner.store()->fills().claimed() == 1);
    owner.repair(7);
    CHECK(owner.store()->fills().claimed() == 0);
    CHECK(rings(inheritance.cache_bells[9].get()));
    CHECK_FALSE(rings(inheritance.cache_bells[7].get()));
    CHECK_FALSE(rings(inheritance.cache_bells[0].get()));
    ipc::release_borrowed(inheritance);
    CHECK(owner.has_files());
    owner.close();
    CHECK(place.count() == 0);
}

TEST_CASE("an upgrade keeps the cache where it is still what is asked for")
{
    const Place place;
    const Place elsewhere;
    CacheOwner before;
    before.make(settings(place), {});
    before.use_row(3);
    store(before, "http://a.test/");
    const auto finds = [](const CacheOwner& owner) {
        return static_cast<bool>(owner.store()->find(owner.store()->name("http://a.test/")).view);
    };
    REQUIRE(finds(before));

    {
        CacheOwner after;
        CHECK(after.adopt(copy_of(before.hand_over()), settings(place), {}));
        after.use_row(before.hand_over().row);
        CHECK(after.row() == 3);
        CHECK(finds(after));
        CHECK(after.hand_over().folder == before.hand_over().folder);
        CHECK(after.hand_over().bells.size() == shm::kMaxProcesses);
        CHECK(place.count() == 1);
    }
    CHECK(place.count() == 0); // it was the one image's as much as the other's
    {
        CacheOwner after;
        CHECK_FALSE(after.adopt(copy_of(before.hand_over()), settings(place, 16u << 20), {}));
        after.use_row(3);
        CHECK_FALSE(finds(after));
        CHECK(after.hand_over().folder != before.hand_over().folder);
    }
    {
        CacheOwner after;
        CHECK_FALSE(after.adopt(copy_of(before.hand_over()), settings(elsewhere), {}));
        CHECK(after.hand_over().folder.starts_with(elsewhere.path));
    }
    {
        CacheOwner after;
        CHECK_FALSE(after.adopt(copy_of(before.hand_over()), settings(place, 0), {}));
        CHECK_FALSE(after.exists());
    }
    CacheOwner first;
    CHECK_FALSE(first.adopt({}, settings(place), {})); // the version before had none
    CHECK(first.exists());
    CHECK(first.has_files());
}

TEST_CASE("who acts as another user for a while still hears of its parent's death")
{
    int before = 0;
    REQUIRE(::prctl(PR_GET_PDEATHSIG, &before) == 0);
    REQUIRE(::prctl(PR_SET_PDEATHSIG, SIGUSR2) == 0);
    {
        const master::ActingAs other(12345);
    }
    int after = 0;
    CHECK(::prctl(PR_GET_PDEATHSIG, &after) == 0);
    CHECK(after == SIGUSR2);
    ::prctl(PR_SET_PDEATHSIG, before);
}
