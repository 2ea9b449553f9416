// SPDX-License-Identifier: Apache-2.0
//
// What a client accepts by name, of what type a body is, and what a path's extension says.
#include "common/http/media_type.h"

#include <doctest/doctest.h>

#include <string>

using namespace ladle::http;

namespace {

/// The quality of `wanted` in a request with these Accept values.
unsigned quality(std::string_view wanted, std::initializer_list<std::string_view> values)
{
    std::string text;
    Fields fields;
    for (const std::string_view value : values) {
        text += value;
    }
    fields.rebase(text.data());
    std::uint32_t at = 0;
    for (const std::string_view value : values) {
        (void)fields.add({0, 0, FieldName::accept, false, at, static_cast<std::uint32_t>(value.size())});
        at += static_cast<std::uint32_t>(value.size());
    }
    return named_quality(fields, wanted);
}

} // namespace

TEST_CASE("media type: a type is wanted with the q of the entry that names it most closely")
{
    struct Row {
        std::string_view accept;
        std::string_view wanted;
        unsigned quality;
    };
    for (const Row& row : std::initializer_list<Row>{
             {"text/html", "text/html", 1000},
             {"TEXT/HTML;charset=utf-8", "text/html", 1000},
             {"text/html;q=0.5", "text/html", 500},
             {"text/html; q=0.123", "text/html", 123},
             {"text/html;Q=1.000", "text/html", 1000},
             {"text/html;q=0", "text/html", 0},
             {"text/*", "text/html", 1000},
             {"text/html;q=0, text/*", "text/html", 0},
             {"text/*;q=0, text/html", "text/html", 1000},
             {"text/*;q=0.2,text/html;q=0.1", "text/html", 100},
             {"*/*", "text/html", 0},
             {"application/json, */*;q=0.8", "text/html", 0},
             {"application/json", "text/html", 0},
             {"text/htm", "text/html", 0},
             {"text/html5", "text/html", 0},
             {"text/plain;x=\"a,text/html\"", "text/html", 0},
             {"text/plain;x=\"a\\\",text/html\", text/html;q=0.3", "text/html", 300},
             {"text/html;q=2", "text/html", 0},
             {"text/html;q=0.1234", "text/html", 0},
             {"text/html;q=", "text/html", 0},
             {"text/html;q=.5", "text/html", 0},
             {",, ,text/html,", "text/html", 1000},
             {"text/css", "text/*", 1000},
             {"text/css;q=0, text/csv;q=0.4", "text/*", 400},
             {"image/png", "text/*", 0},
             {"", "text/html", 0},
             {";;;", "text/html", 0},
             {"text", "text/html", 0},
         }) {
        CAPTURE(row.accept);
        CAPTURE(row.wanted);
        CHECK(quality(row.wanted, {row.accept}) == row.quality);
    }
    CHECK(quality("text/html", {"image/png", "text/html;q=0.7"}) == 700);
    CHECK(quality("text/html", {}) == 0);
}

TEST_CASE("media type: parameters do not belong to a body's type")
{
    CHECK(media_type_of("multipart/form-data; boundary=x") == "multipart/form-data");
    CHECK(media_type_of(" text/html ;charset=utf-8") == "text/html");
    CHECK(media_type_of("") == "");
}

TEST_CASE("media type: what may be asked for is a type, or all of one kind")
{
    for (const std::string_view good : {"text/html", "text/*", "application/vnd.api+json"}) {
        CHECK(is_media_range(good));
    }
    for (const std::string_view bad :
         {"", "text", "text/", "/html", "*/*", "*/html", "te*/html", "text/h*", "text/html;q=1", "a/b/c"}) {
        CHECK_FALSE(is_media_range(bad));
    }
}

TEST_CASE("media type: the extension of the last segment says what a path is for")
{
    CHECK(kind_of_path("/a/b.PNG") == FileKind::image);
    CHECK(kind_of_path("/a.mp3") == FileKind::audio);
    CHECK(kind_of_path("/a.tar.webm") == FileKind::video);
    CHECK(kind_of_path("/f.woff2") == FileKind::font);
    CHECK(kind_of_path("/f.mjs") == FileKind::script);
    CHECK(kind_of_path("/.css") == FileKind::style);
    for (const std::string_view none : {"/png", "/a.png/b", "/a.html", "/a.", "/", "", "/a.pngpng", "/a.p%6Eg"}) {
        CHECK_FALSE(kind_of_path(none));
    }
    CHECK(find_file_kind("sound") == FileKind::audio);
    CHECK_FALSE(find_file_kind("picture"));
}
