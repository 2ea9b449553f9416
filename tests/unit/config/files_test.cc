// SPDX-License-Identifier: Apache-2.0
//
// Files on the disk, the bundle, the shipped configurations and the generated documents.
#include "common/base/json.h"
#include "common/config/bundle.h"
#include "common/config/docs.h"
#include "common/config/server_changes.h"
#include "common/config/settings_table.h"
#include "tests/unit/config/loading.h"
#include "tests/unit/scratch_folder.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <doctest/doctest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

using namespace ladle;

namespace {

const std::string kRoot = LADLE_SOURCE_ROOT;

std::string slurp(const std::string& path)
{
    std::ifstream in(path);
    REQUIRE(in.good());
    std::stringstream out;
    out << in.rdbuf();
    return out.str();
}

} // namespace

TEST_CASE("bundle: a worker builds the same configuration from the bundle, without the disk")
{
    const test::ScratchFolder folder;
    folder.write("sites.d/a.toml", "[site.\"a.test\"]\nupstream = \"http://127.0.0.1:3000\"\nerror_pages = \"../pages\"\n");
    folder.write("pages/error.html", "<p>{status}");
    const std::string main_path = folder.write("ladle.toml", "include = \"sites.d/*.toml\"\n");

    config::DiskFiles disk;
    const config::LoadResult from_disk = config::load(disk, main_path, 6);
    REQUIRE(from_disk.config != nullptr);
    CHECK(from_disk.config->generation == 6);
    const Result<os::Fd> bundle = config::make_bundle(disk.recording(), main_path, 7);
    REQUIRE(bundle.has_value());
    std::filesystem::remove_all(folder.path);

    const config::LoadResult from_bundle = config::load_bundle(bundle->get());
    REQUIRE(from_bundle.config != nullptr);
    CHECK(from_bundle.config->generation == 7);
    CHECK(from_bundle.config->sites.at(0).name == "a.test");
    CHECK(*config::find_error_page(from_bundle.config->error_page_sets.at(from_bundle.config->sites[0].error_pages), 404) ==
          "<p>{status}");
    CHECK(config::open_bundle(bundle->get())->main_path == main_path);
}

TEST_CASE("bundle: is sealed against every change")
{
    const Result<os::Fd> bundle = config::make_bundle({{{"x", "y"}}, {}}, "x", 1);
    REQUIRE(bundle.has_value());
    CHECK(::pwrite(bundle->get(), "z", 1, 0) == -1);
    CHECK(::ftruncate(bundle->get(), 0) == -1);
    CHECK(::fcntl(bundle->get(), F_GET_SEALS) == (F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE));
}

TEST_CASE("bundle: anything else is refused with the reason")
{
    const auto reason = [](const std::string& bytes, bool sealed) {
        const os::Fd fd(::memfd_create("test", MFD_ALLOW_SEALING | MFD_CLOEXEC));
        REQUIRE(::write(fd.get(), bytes.data(), bytes.size()) == static_cast<ssize_t>(bytes.size()));
        if (sealed) {
            REQUIRE(::fcntl(fd.get(), F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE) == 0);
        }
        const config::LoadResult result = config::load_bundle(fd.get());
        CHECK(result.config == nullptr);
        return result.diagnostics.at(0).message;
    };
    const Result<os::Fd> good = config::make_bundle({{{"x", "y"}}, {{"*", {"x"}}}}, "x", 1);
    std::string bytes(4096, '\0');
    bytes.resize(static_cast<std::size_t>(::pread(good->get(), bytes.data(), bytes.size(), 0)));
    CHECK(reason(bytes, false) == "the bundle is not sealed");
    CHECK(reason("", true) == "the bundle is too short");
    CHECK(reason(std::string(200, 'x'), true) == "the bundle is of another version of Ladle");
    CHECK(reason(bytes.substr(0, bytes.size() - 1), true) == "the bundle is damaged");
    std::string changed = bytes;
    changed.back() ^= 1;
    CHECK(reason(changed, true) == "the bundle is damaged");
    const Result<os::Fd> null(os::Fd(::open("/dev/null", O_RDONLY | O_CLOEXEC)));
    CHECK(config::load_bundle(null->get()).diagnostics.at(0).message.starts_with("the bundle is not a memfd"));
}

TEST_CASE("config: a main file that cannot be read is one clear line")
{
    const test::ScratchFolder folder;
    config::DiskFiles files;
    CHECK(config::to_text(config::load(files, folder.path + "/none.toml").diagnostics) ==
          folder.path + "/none.toml: error: cannot read it: No such file or directory\n");
    CHECK(config::to_text(config::load(files, folder.path).diagnostics) ==
          folder.path + ": error: cannot read it: Is a directory\n");
    CHECK(::mkfifo((folder.path + "/fifo").c_str(), 0600) == 0);
    CHECK(config::load(files, folder.path + "/fifo").config != nullptr); // empty, and does not hang
}

TEST_CASE("config: the shipped files are without errors")
{
    std::size_t examples = 0;
    for (const auto& entry : std::filesystem::directory_iterator(kRoot + "/conf/examples")) {
        INFO(entry.path());
        config::DiskFiles files;
        const config::LoadResult result = config::load(files, entry.path());
        CHECK(config::to_text(result.diagnostics) == "");
        CHECK(result.config != nullptr);
        ++examples;
    }
    CHECK(examples >= 4);
    config::DiskFiles files;
    CHECK(config::to_text(config::load(files, kRoot + "/conf/minimal.toml").diagnostics) == "");
    const config::LoadResult installed = config::load(files, kRoot + "/conf/ladle.toml");
    CHECK(installed.config != nullptr);
    CHECK(config::summary(installed.diagnostics) == "no errors, 1 warning");
}

TEST_CASE("config: ladle.toml shows every setting, and what is commented out is the default and valid")
{
    const std::string text = slurp(kRoot + "/conf/ladle.toml");
    std::string live;
    std::istringstream lines(text);
    for (std::string line; std::getline(lines, line);) {
        const bool is_setting = line.size() > 1 && line[0] == '#' && line[1] != ' ' && line[1] != '#';
        live += (is_setting ? line.substr(1) : line) + "\n";
    }
    const std::string pages = "/etc/ladle/error_pages/error.html";
    const std::string authorities = "-----BEGIN CERTIFICATE-----";
    const auto shown = test::load_good(live,
                                       {{pages, "x"},
                                        {"/etc/ladle/www.pem", "x"},
                                        {"/etc/ladle/www.key", "x"},
                                        {"/etc/ladle/proxy.pem", "x"},
                                        {"/etc/ladle/proxy.key", "x"},
                                        {"/etc/ladle/ca.pem", authorities},
                                        {"/etc/ladle/clients.pem", authorities},
                                        {"/etc/ladle/tickets.key", std::string(80, 'x')},
                                        {"/etc/ladle/revoked.pem", "-----BEGIN X509 CRL-----"}},
                                       {{"/etc/ladle/error_pages/*.html", {pages}}});
    const auto bare = test::load_good("");
    CHECK(shown->server.drain_timeout == bare->server.drain_timeout);
    CHECK(shown->timeouts.tunnel == bare->timeouts.tunnel);
    CHECK(shown->budget.per_client_bytes == bare->budget.per_client_bytes);

    for (const config::Setting& setting : config::all_settings()) {
        INFO(setting.schema, " ", setting.key);
        const bool is_key = live.find(std::string(setting.key) + " = ") != std::string::npos;
        const bool is_header = live.find("[" + std::string(setting.key)) != std::string::npos ||
                               live.find("." + std::string(setting.key) + "]") != std::string::npos;
        CHECK((is_key || is_header));
        const bool has_line = setting.schema == "server" || setting.schema == "timeouts" || setting.schema == "budget";
        if (has_line && !setting.fallback.empty()) {
            const std::string quoted = "#" + std::string(setting.key) + " = \"" + std::string(setting.fallback) + "\"";
            CHECK(text.find(quoted) != std::string::npos);
        }
    }
}

TEST_CASE("docs: every setting is in the manual page, the schema and the reference")
{
    const std::string manual = config::manual_page();
    const std::string reference = config::markdown_reference();
    const nlohmann::json schema = parse_json(config::json_schema());
    for (const config::Setting& setting : config::all_settings()) {
        INFO(setting.schema, " ", setting.key);
        CHECK(manual.find("\\fB" + std::string(setting.key) + "\\fR") != std::string::npos);
        CHECK(reference.find("| `" + std::string(setting.key) + "` |") != std::string::npos);
        const nlohmann::json& table = setting.schema.empty() ? schema : schema["$defs"][std::string(setting.schema)];
        if (setting.schema != "timeouts") {
            CHECK(table["properties"].contains(std::string(setting.key)));
        }
        CHECK(setting.doc.size() > 3);
        CHECK(config::find_schema(setting.schema) != nullptr);
    }
    CHECK(schema["$defs"]["timeouts"]["properties"].contains("header"));
    CHECK_FALSE(schema["$defs"]["timeouts_of_site"]["properties"].contains("header"));
    CHECK(manual.find("Default: \"30s\".") != std::string::npos);
}

TEST_CASE("docs: a table's default lies in its range, and its schema exists")
{
    for (const config::Setting& setting : config::all_settings()) {
        INFO(setting.schema, " ", setting.key);
        const bool is_table = setting.type == config::Type::table || setting.type == config::Type::tables ||
                              setting.type == config::Type::named || setting.type == config::Type::servers;
        if (is_table) {
            CHECK(config::find_schema(setting.range) != nullptr);
        } else if (!setting.fallback.empty() && setting.fallback != setting.word) {
            const config::Bounds bounds = config::bounds_of(setting);
            CHECK(config::fallback_number(setting) >= bounds.least);
            CHECK(config::fallback_number(setting) <= bounds.greatest);
        }
    }
}

TEST_CASE("server changes: what is written is read again; what is none is left out")
{
    const std::vector<config::ServerChange> changes{{"app", "10.0.0.1:80", false, 5, 7, true},
                                                    {"my app", "unix:/run/a b", true, 0, 0, false}};
    CHECK(config::parse_server_changes(config::to_text(changes)) == changes);
    for (const char* bad : {"", "add", "add\ta\tb\t1\t1", "add\ta\tb\t1\t1\t\t", "put\ta\tb\t1\t1\t", "add\t\tb\t1\t1\t",
                            "add\ta\t\t1\t1\t", "add\ta\tb\t-1\t1\t", "add\ta\tb\t1001\t1\t", "add\ta\tb\t1\tx\t"}) {
        CHECK(config::parse_server_changes(bad).empty());
    }
    CHECK(config::parse_server_changes("nonsense\nadd\ta\tb\t0\t0\t").size() == 1);
}

TEST_CASE("server changes: they are in the upstreams, in the bundle too, and the last server stays")
{
    const test::ScratchFolder folder;
    const std::string path = folder.write("ladle.toml", "[site.\"*\"]\nupstream = \"app\"\n[upstream.app]\nweight = 2\n"
                                                        "servers = [\"10.0.0.1:80\", \"10.0.0.2:80\"]\n");
    config::DiskFiles files(config::to_text({{"app", "10.0.0.3:80", false, 0, 9, false},
                                             {"app", "10.0.0.1:80", true, 0, 0, false},
                                             {"app", "10.0.0.2:80", false, 7, 0, false},
                                             {"none", "10.0.0.4:80", false, 0, 0, false}}));
    const config::LoadResult loaded = config::load(files, path);
    REQUIRE(loaded.config);
    const auto bundle = config::make_bundle(files.recording(), path, 1);
    REQUIRE(bundle);
    for (const auto& config : {loaded.config, config::load_bundle(bundle->get()).config}) {
        REQUIRE(config);
        const std::vector<config::UpstreamServer>& servers = config->upstreams.at(0).servers;
        REQUIRE(servers.size() == 2);
        CHECK(servers[0].text == "10.0.0.2:80"); // the file's own: as it stands there
        CHECK(servers[0].weight == 2);
        CHECK_FALSE(servers[0].is_added);
        CHECK(servers[1].text == "10.0.0.3:80");
        CHECK(servers[1].weight == 2);
        CHECK(servers[1].max_conn == 9);
        CHECK(servers[1].is_added);
    }
    // One after the other as in a rolling replacement: the last of the file's goes, too.
    config::DiskFiles rolled(config::to_text({{"app", "10.0.0.1:80", true, 0, 0, false},
                                              {"app", "10.0.0.2:80", true, 0, 0, false},
                                              {"app", "10.0.0.3:80", false, 0, 0, false}}));
    const std::shared_ptr<const config::Config> replaced = config::load(rolled, path).config;
    REQUIRE(replaced);
    REQUIRE(replaced->upstreams.at(0).servers.size() == 1);
    CHECK(replaced->upstreams.at(0).servers[0].text == "10.0.0.3:80");
    CHECK(replaced->upstreams.at(0).removed == std::vector<std::string>{"10.0.0.1:80", "10.0.0.2:80"});
    // What does not fit is passed over with a warning, and stops nothing.
    config::DiskFiles mixed(config::to_text({{"app", "https://10.0.0.3:80", false, 0, 0, false}}));
    const config::LoadResult passed_over = config::load(mixed, path);
    REQUIRE(passed_over.config);
    CHECK(passed_over.config->upstreams.at(0).servers.size() == 2);
    CHECK(config::to_text(passed_over.diagnostics).find("is passed over") != std::string::npos);
    config::DiskFiles none(config::to_text({{"app", "10.0.0.1:80", true, 0, 0, false}, {"app", "10.0.0.2:80", true, 0, 0, false}}));
    CHECK(config::load(none, path).config->upstreams.at(0).servers.size() == 1);
}
