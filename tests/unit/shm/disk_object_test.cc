// SPDX-License-Identifier: Apache-2.0
#include "common/shm/disk_files.h"
#include "tests/unit/scratch_folder.h"
#include "tests/unit/shm/cache_testing.h"

#include <doctest/doctest.h>

#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>

#include <filesystem>

using namespace cache_testing;

namespace {

std::string path_of(const test::ScratchFolder& folder, std::uint64_t number)
{
    return folder.path + "/" + shm::DiskFileName(number).text;
}

shm::DiskObject make_disk_object(std::uint64_t number, std::uint64_t body_bytes)
{
    shm::DiskObject object;
    object.number = number;
    object.seed = 42;
    object.hash = {7, 8};
    object.epoch = 9;
    object.stored_ms = 1'700'000'000'000;
    object.body_bytes = body_bytes;
    object.meta = "meta";
    object.url = "http://a.test/x";
    object.variant = "accept-encoding:gzip\n";
    object.head = "Content-Type: text/plain\r\n";
    object.tags = {1, 2, 3};
    return object;
}

int write(const test::ScratchFolder& folder, std::uint64_t number, std::string& body)
{
    const std::atomic<bool> go_on{false};
    shm::DiskBody source;
    source.memory = {{body.data(), body.size() / 3}, {body.data() + body.size() / 3, body.size() - body.size() / 3}};
    return shm::write_disk_file(folder.fd.get(), make_disk_object(number, body.size()), source, go_on);
}

std::string content_of(const std::string& path)
{
    const os::Fd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    struct stat status {};
    REQUIRE(::fstat(file.get(), &status) == 0);
    std::string content(static_cast<std::size_t>(status.st_size), '\0');
    REQUIRE(::read(file.get(), content.data(), content.size()) == static_cast<ssize_t>(content.size()));
    return content;
}

void put_file(const std::string& path, const std::string& content)
{
    const os::Fd file(::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
    REQUIRE(::write(file.get(), content.data(), content.size()) == static_cast<ssize_t>(content.size()));
}

/// Reads the whole object; "" = refused somewhere.
std::string read_whole(const test::ScratchFolder& folder, std::uint64_t number)
{
    shm::DiskFile file;
    if (shm::open_disk_file(folder.fd.get(), number, true, file) != 0) {
        return {};
    }
    std::string body = file.body;
    while (body.size() < file.header.object().body_bytes) {
        std::string more;
        if (shm::read_disk_blocks(file, body.size(), 256 << 10, more) != 0) {
            return {};
        }
        body += more;
    }
    return body;
}

} // namespace

TEST_CASE("a disk object comes back as it was written")
{
    test::ScratchFolder folder;
    for (const std::size_t bytes : {std::size_t{0}, std::size_t{1}, std::size_t{1000}, shm::kDiskBlockBytes,
                                    shm::kDiskBlockBytes + 1, std::size_t{700'001}}) {
        std::string body = make_body(bytes, bytes);
        REQUIRE(write(folder, 0x1234, body) == 0);
        shm::DiskFile file;
        REQUIRE(shm::open_disk_file(folder.fd.get(), 0x1234, true, file) == 0);
        const shm::DiskObject& object = file.header.object();
        CHECK(object.number == 0x1234);
        CHECK(object.seed == 42);
        CHECK(object.hash == shm::CacheHash{7, 8});
        CHECK(object.epoch == 9);
        CHECK(object.stored_ms == 1'700'000'000'000);
        CHECK(object.meta == "meta");
        CHECK(object.url == "http://a.test/x");
        CHECK(object.variant == "accept-encoding:gzip\n");
        CHECK(object.head == "Content-Type: text/plain\r\n");
        CHECK(object.tags == std::vector<std::uint64_t>{1, 2, 3});
        CHECK_FALSE(object.is_vary_record);
        CHECK(read_whole(folder, 0x1234) == body);
    }
    CHECK(shm::unlink_disk_file(folder.fd.get(), 0x1234) == 0);
    CHECK(shm::unlink_disk_file(folder.fd.get(), 0x1234) == 0);
    CHECK(read_whole(folder, 0x1234).empty());
}

TEST_CASE("no cut and no flipped bit of a disk object goes unseen")
{
    test::ScratchFolder folder;
    std::string body = make_body(1, 1500);
    REQUIRE(write(folder, 5, body) == 0);
    const std::string path = path_of(folder, 5);
    const std::string whole = content_of(path);
    REQUIRE(read_whole(folder, 5) == body);
    for (std::size_t length = 0; length < whole.size(); ++length) {
        put_file(path, whole.substr(0, length));
        REQUIRE(read_whole(folder, 5).empty());
    }
    put_file(path, whole + "x");
    CHECK(read_whole(folder, 5).empty());
    for (std::size_t bit = 0; bit < whole.size() * 8; ++bit) {
        std::string flipped = whole;
        flipped[bit / 8] = static_cast<char>(flipped[bit / 8] ^ (1 << bit % 8));
        put_file(path, flipped);
        REQUIRE(read_whole(folder, 5).empty());
    }
}

TEST_CASE("a flipped bit in a later block is seen when that block is read")
{
    test::ScratchFolder folder;
    std::string body = make_body(2, 5 * shm::kDiskBlockBytes + 77);
    REQUIRE(write(folder, 6, body) == 0);
    std::string bytes = content_of(path_of(folder, 6));
    bytes[bytes.size() - 50] = static_cast<char>(bytes[bytes.size() - 50] ^ 4);
    put_file(path_of(folder, 6), bytes);
    shm::DiskFile file;
    REQUIRE(shm::open_disk_file(folder.fd.get(), 6, true, file) == 0);
    std::string some;
    CHECK(shm::read_disk_blocks(file, 3 * shm::kDiskBlockBytes, shm::kDiskBlockBytes, some) == 0);
    CHECK(some == body.substr(3 * shm::kDiskBlockBytes, shm::kDiskBlockBytes));
    CHECK(shm::read_disk_blocks(file, 4 * shm::kDiskBlockBytes, 2 * shm::kDiskBlockBytes, some) == shm::kDiskFileBad);
}

TEST_CASE("an object in another's place, or something else there, is refused")
{
    test::ScratchFolder folder;
    std::string body = make_body(3, 900);
    REQUIRE(write(folder, 0x0a, body) == 0);
    std::filesystem::create_directory(folder.path + "/0b");
    std::filesystem::copy(path_of(folder, 0x0a), path_of(folder, 0x0b));
    CHECK(read_whole(folder, 0x0a) == body);
    CHECK(read_whole(folder, 0x0b).empty());
    std::filesystem::create_directory(folder.path + "/0c");
    std::filesystem::create_symlink(path_of(folder, 0x0a), path_of(folder, 0x0c));
    CHECK(read_whole(folder, 0x0c).empty());
    std::filesystem::create_directories(path_of(folder, 0x0d));
    CHECK(read_whole(folder, 0x0d).empty());
}

TEST_CASE("names and numbers of disk objects belong together")
{
    CHECK(std::string(shm::DiskFileName(0x1fe).text) == "fe/00000000000001fe");
    CHECK(shm::disk_owner_of(0xfe, "00000000000001fe").number == 0x1fe);
    CHECK(shm::disk_owner_of(0xfe, "00000000000001fe").kind == shm::DiskFileKind::object);
    CHECK(shm::disk_owner_of(0xfe, "00000000000001fe.head").number == 0x1fe);
    CHECK(shm::disk_owner_of(0xfe, "00000000000001fe.head").kind == shm::DiskFileKind::head);
    for (const char* name : {"00000000000001fe.new", "00000000000001fe.head.new"}) {
        CHECK(shm::disk_owner_of(0xfe, name).number == 0x1fe);
        CHECK(shm::disk_owner_of(0xfe, name).kind == shm::DiskFileKind::unfinished);
    }
    CHECK(shm::disk_owner_of(0xff, "00000000000001fe").number == 0);
    for (const char* name :
         {"00000000000001FE", "1fe", "", "00000000000001fe.old", "00000000000001fex", "00000000000001fe.new.head"}) {
        CHECK(shm::disk_owner_of(0xfe, name).number == 0);
        CHECK(shm::disk_owner_of(0xfe, name).kind == shm::DiskFileKind::stranger);
    }
}

TEST_CASE("a cancelled write leaves nothing")
{
    test::ScratchFolder folder;
    std::string body = make_body(4, 200'000);
    const std::atomic<bool> cancelled{true};
    shm::DiskBody source;
    source.memory = {{body.data(), body.size()}};
    CHECK(shm::write_disk_file(folder.fd.get(), make_disk_object(9, body.size()), source, cancelled) == ECANCELED);
    CHECK(std::filesystem::is_empty(folder.path + "/09"));
}

TEST_CASE("a disk object's file is written as its body comes, and is none before")
{
    test::ScratchFolder folder;
    const std::string body = make_body(5, 20 * shm::kDiskBlockBytes + 17);
    const shm::DiskObject object = make_disk_object(0x0e, body.size());
    shm::DiskFileWriter writer(folder.fd.get());
    REQUIRE(writer.begin(object) == 0);
    CHECK(writer.finish(object) == EINVAL); // not all of the body is there
    for (std::size_t at = 0; at < body.size(); at += 8 * shm::kDiskBlockBytes) {
        REQUIRE(writer.append(std::string_view(body).substr(at, 8 * shm::kDiskBlockBytes)) == 0);
        CHECK(read_whole(folder, 0x0e).empty());
    }
    REQUIRE(writer.finish(object) == 0);
    CHECK(read_whole(folder, 0x0e) == body);
    CHECK(std::filesystem::file_size(path_of(folder, 0x0e)) == shm::disk_header_bytes(object) + body.size());

    shm::DiskFileWriter left(folder.fd.get());
    REQUIRE(left.begin(make_disk_object(0x10e, body.size())) == 0);
    CHECK(std::filesystem::exists(path_of(folder, 0x10e) + ".new"));
    CHECK(shm::unlink_disk_file(folder.fd.get(), 0x10e) == 0);
    CHECK_FALSE(std::filesystem::exists(path_of(folder, 0x10e) + ".new"));
}

TEST_CASE("a disk object of unknown length is one when its header stands beside it, and none before")
{
    for (const std::size_t bytes : {std::size_t{1}, std::size_t{shm::kDiskBlockBytes}, 20 * shm::kDiskBlockBytes + 17}) {
        test::ScratchFolder folder;
        const std::string body = make_body(5, bytes);
        shm::DiskObject object = make_disk_object(0x0e, shm::kBodyUnknown);
        shm::DiskFileWriter writer(folder.fd.get());
        REQUIRE(writer.begin(object) == 0);
        for (std::size_t at = 0; at < body.size(); at += 8 * shm::kDiskBlockBytes) {
            REQUIRE(writer.append(std::string_view(body).substr(at, 8 * shm::kDiskBlockBytes)) == 0);
            CHECK(read_whole(folder, 0x0e).empty());
        }
        object.body_bytes = bytes + 1;
        CHECK(writer.finish(object) == EINVAL);
        object.body_bytes = bytes;
        REQUIRE(writer.finish(object) == 0);
        CHECK(read_whole(folder, 0x0e) == body);
        shm::DiskFile file;
        REQUIRE(shm::open_disk_file(folder.fd.get(), 0x0e, false, file) == 0);
        CHECK(file.header.file_bytes() == shm::disk_header_bytes(object) + bytes);
        CHECK(shm::disk_header_bytes(make_disk_object(0x0e, shm::kBodyUnknown), bytes) == shm::disk_header_bytes(object));

        // A newer header takes its place; without any there is no object.
        object.stored_ms += 1000;
        object.head = "X-New: 1\r\n";
        REQUIRE(shm::write_disk_head(folder.fd.get(), object) == 0);
        REQUIRE(shm::open_disk_file(folder.fd.get(), 0x0e, false, file) == 0);
        CHECK(file.header.object().head == object.head);
        CHECK(read_whole(folder, 0x0e) == body);
        std::filesystem::remove(path_of(folder, 0x0e) + ".head");
        CHECK(shm::open_disk_file(folder.fd.get(), 0x0e, false, file) == shm::kDiskFileBad);
        CHECK(shm::unlink_disk_file(folder.fd.get(), 0x0e) == 0);
    }
    test::ScratchFolder folder;
    shm::DiskFileWriter writer(folder.fd.get());
    REQUIRE(writer.begin(make_disk_object(0x0e, shm::kBodyUnknown)) == 0);
    CHECK(writer.finish(make_disk_object(0x0e, 0)) == EINVAL); // no file of its own says that there is nothing
}

TEST_CASE("a disk object that is larger than what the disk has free takes nothing of it")
{
    test::ScratchFolder folder;
    shm::DiskFileWriter writer(folder.fd.get());
    constexpr std::uint64_t kLargest = std::uint64_t{100} << 30; // that a header can describe
    CHECK(writer.begin(make_disk_object(0x0e, kLargest)) == shm::kDiskTooLarge);
    CHECK(std::filesystem::is_empty(folder.path + "/0e"));
}

TEST_CASE("a disk object's newer header takes the first one's place, and goes with it")
{
    test::ScratchFolder folder;
    std::string body = make_body(6, 3 * shm::kDiskBlockBytes + 5);
    REQUIRE(write(folder, 0x0f, body) == 0);
    shm::DiskObject newer = make_disk_object(0x0f, body.size());
    newer.head = "Content-Type: text/plain\r\nX-Longer: than the one before\r\n";
    newer.epoch = 10;
    newer.stored_ms += 5;
    REQUIRE(shm::write_disk_head(folder.fd.get(), newer) == 0);
    const auto head_now = [&folder] {
        shm::DiskFile file;
        REQUIRE(shm::open_disk_file(folder.fd.get(), 0x0f, true, file) == 0);
        return std::string(file.header.object().head);
    };
    CHECK(head_now() == newer.head);
    CHECK(read_whole(folder, 0x0f) == body);
    shm::DiskObject older = make_disk_object(0x0f, body.size());
    older.head = "X: late\r\n";
    older.stored_ms += 4;
    CHECK(shm::write_disk_head(folder.fd.get(), older) == 0);
    CHECK(head_now() == newer.head);
    shm::DiskObject ahead = newer;
    ahead.stored_ms = 4'000'000'000'000; // in 2096: the clock was wrong, and is set back then
    REQUIRE(shm::write_disk_head(folder.fd.get(), ahead) == 0);
    older.stored_ms += 2;
    CHECK(shm::write_disk_head(folder.fd.get(), older) == 0);
    CHECK(head_now() == older.head);
    newer.stored_ms += 9;
    REQUIRE(shm::write_disk_head(folder.fd.get(), newer) == 0);
    shm::DiskObject other = make_disk_object(0x0f, body.size() + 1);
    other.stored_ms += 19;
    CHECK(shm::write_disk_head(folder.fd.get(), other) == shm::kDiskFileBad);

    const std::string head_path = path_of(folder, 0x0f) + ".head";
    const std::string whole = content_of(head_path);
    for (std::size_t at = 0; at < whole.size(); ++at) {
        std::string flipped = whole;
        flipped[at] = static_cast<char>(flipped[at] ^ 1);
        put_file(head_path, flipped);
        REQUIRE(read_whole(folder, 0x0f).empty());
        put_file(head_path, whole.substr(0, at));
        REQUIRE(read_whole(folder, 0x0f).empty());
    }
    put_file(head_path, whole);
    std::filesystem::resize_file(path_of(folder, 0x0f), std::filesystem::file_size(path_of(folder, 0x0f)) - 1);
    CHECK(read_whole(folder, 0x0f).empty());
    CHECK(shm::unlink_disk_file(folder.fd.get(), 0x0f) == 0);
    CHECK_FALSE(std::filesystem::exists(head_path));
    CHECK(shm::write_disk_head(folder.fd.get(), newer) == ENOENT);
}
