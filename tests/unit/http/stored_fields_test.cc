// SPDX-License-Identifier: Apache-2.0
#include "common/http/stored_fields.h"

#include "tests/unit/http/field_text.h"

using namespace ladle::http;

namespace {

std::string stored_head(std::string_view lines, bool cookies_too = true)
{
    const FieldText text(lines);
    std::string out;
    append_stored_head(text.fields, find_policy(text.fields).directives, cookies_too, out);
    return out;
}

std::string merged_head(std::string_view stored_lines, std::string_view received_lines)
{
    const FieldText stored(stored_lines);
    const FieldText received(received_lines);
    std::string out;
    append_merged_head(stored.fields, received.fields, find_policy(received.fields).directives, true, out);
    return out;
}

} // namespace

TEST_CASE("what is stored of a head (RFC 9111 §3.1)")
{
    CHECK(
        stored_head(
            "Date: x\nConnection: close\nKeep-Alive: a\nProxy-Connection: a\nTE: a\nTrailer: a\nTransfer-Encoding: "
            "chunked\nUpgrade: a\n"
            "Proxy-Authenticate: a\nProxy-Authentication-Info: a\nProxy-Authorization: a\nAge: 5\nContent-Length: 3\nX-Test: y") ==
        "Date: x\r\nX-Test: y\r\n");
    const std::string kept = "Content-Encoding: a\r\nContent-Range: a\r\nContent-Type: a\r\nETag: a\r\nVary: a\r\nSet-Cookie: "
                             "a=b\r\nSet-Cookie: c=d\r\n";
    CHECK(
        stored_head("Content-Encoding: a\nContent-Range: a\nContent-Type: a\nETag: a\nVary: a\nSet-Cookie: a=b\nSet-Cookie: c=d") ==
        kept);
    CHECK(stored_head("Set-Cookie: a=b\nA: 1", false) == "A: 1\r\n");
}

TEST_CASE("fields that no-cache and private name are not stored (RFC 9111 §5.2.2.4, §5.2.2.7)")
{
    CHECK(stored_head("a: 1\nB: 2\nC: 3\nCache-Control: no-cache=\"A, b\", max-age=5") ==
          "C: 3\r\nCache-Control: no-cache=\"A, b\", max-age=5\r\n");
    CHECK(stored_head("Set-Cookie: a=b\nCache-Control: private=\"set-cookie\"") == "Cache-Control: private=\"set-cookie\"\r\n");
}

TEST_CASE("fields marked as dropped are not stored")
{
    FieldText text("A: 1\nB: 2");
    text.fields.begin()->is_dropped = true;
    std::string out;
    append_stored_head(text.fields, {}, true, out);
    CHECK(out == "B: 2\r\n");
}

TEST_CASE("a 304 replaces the fields that it brings (RFC 9111 §3.2)")
{
    CHECK(merged_head("A: 1\nB: 2\nb: 3", "B: 4") == "A: 1\r\nB: 4\r\n");
    CHECK(merged_head("Cache-Control: max-age=1\nDate: x", "Cache-Control: max-age=2\nDate: y") ==
          "Cache-Control: max-age=2\r\nDate: y\r\n");
    CHECK(merged_head("Content-Type: a", "content-type: b") == "content-type: b\r\n");
    CHECK(merged_head("Set-Cookie: a=b", "Set-Cookie: c=d\nSet-Cookie: e=f") == "Set-Cookie: c=d\r\nSet-Cookie: e=f\r\n");
    CHECK(merged_head("A: 1", "Connection: close\nAge: 3\nContent-Length: 9\nTransfer-Encoding: chunked\nNew: 1") ==
          "A: 1\r\nNew: 1\r\n");
}

TEST_CASE("what describes the stored bytes stays (RFC 9111 §3.2)")
{
    const std::string kept = "Content-Encoding: a\r\nContent-Range: a\r\nContent-MD5: a\r\nETag: a\r\n";
    CHECK(merged_head("Content-Encoding: a\nContent-Range: a\nContent-MD5: a\nETag: a",
                      "Content-Encoding: b\nContent-Range: b\nContent-MD5: b\nETag: b\nContent-Length: 5") == kept);
    CHECK(merged_head("A: 1", "Content-Encoding: b\nETag: b") == "A: 1\r\n"); // nor are they added
}

TEST_CASE("what our 304 carries (RFC 9110 §15.4.5)")
{
    for (const char* name : {"Cache-Control", "Content-Location", "Date", "ETag", "Expires", "Vary", "Access-Control-Allow-Origin",
                             "CDN-Cache-Control"}) {
        CAPTURE(name);
        CHECK(is_in_304(find_field_name(name), name, true));
    }
    for (const char* name : {"Content-Type", "Content-Encoding", "Content-Length", "Content-Range", "content-language",
                             "Content-MD5", "Last-Modified"}) {
        CAPTURE(name);
        CHECK_FALSE(is_in_304(find_field_name(name), name, true));
    }
    CHECK(is_in_304(FieldName::last_modified, "Last-Modified", false));
}
