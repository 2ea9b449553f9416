// SPDX-License-Identifier: Apache-2.0
//
// The words of an agent, each against what HAProxy's documentation says of them.
#include "worker/upstream/agent_reply.h"

#include <doctest/doctest.h>

#include <string>

using namespace ladle;
using namespace ladle::worker;

namespace {

/// "order state percent max_conn #description", '-' for what was not said; "!" and why for what is not understood.
std::string understood(std::string_view text)
{
    const auto reply = parse_agent_reply(text);
    if (!reply) {
        return "!" + reply.error();
    }
    const shm::AgentWord& word = reply->word;
    std::string out = word.order ? std::string(1, "rdm"[static_cast<int>(*word.order)]) : "-";
    out += " " + std::string(word.state ? name_of(*word.state) : "-");
    out += " " + (word.percent ? std::to_string(*word.percent) : "-");
    out += " " + (word.max_conn ? std::to_string(*word.max_conn) : "-");
    return reply->description.empty() ? out : out + " #" + reply->description;
}

} // namespace

TEST_CASE("agent: every word of HAProxy's format is understood, alone")
{
    CHECK(understood("75%\n") == "- - 75 -");
    CHECK(understood("0%\n") == "- - 0 -");
    CHECK(understood("200%\r\n") == "- - 200 -");
    CHECK(understood("maxconn:30\n") == "- - - 30");
    CHECK(understood("maxconn:0\n") == "- - - 0");
    CHECK(understood("ready\n") == "r - - -");
    CHECK(understood("drain\n") == "d - - -");
    CHECK(understood("maint\n") == "m - - -");
    CHECK(understood("up\n") == "- up - -");
    CHECK(understood("down\n") == "- down - -");
    CHECK(understood("stopped\n") == "- stopped - -");
    CHECK(understood("failed\n") == "- failed - -");
    CHECK(understood("fail\n") == "- failed - -"); // what HAProxy's code takes, where its documentation says "failed"
}

TEST_CASE("agent: words stand in any order and case, between blanks, tabs and commas, and the last of a kind counts")
{
    CHECK(understood("75%,maxconn:30,maint,down\n") == "m down 75 30"); // of HAProxy's own test
    CHECK(understood("  UP\t, Ready ,\tMaxConn:7 50% \n") == "r up 50 7");
    CHECK(understood("up 10% down 20% drain ready\n") == "r down 20 -");
    CHECK(understood("up") == "- up - -"); // its end is the line's
    CHECK(understood("up\ndown\n") == "- up - -");
    CHECK(understood("up\rdown") == "- up - -");
}

TEST_CASE("agent: what follows a # is a description, of which only printable ASCII is kept, and not all")
{
    CHECK(understood("down #  out of memory, up soon\n") == "- down - - #out of memory, up soon");
    CHECK(understood("down# x\n") == "- down - - #x");
    CHECK(understood("down #\n") == "- down - -");
    CHECK(understood("down #a\x01\xc3\xa4z\n") == "- down - - #a???z");
    CHECK(parse_agent_reply("down #" + std::string(400, 'x'))->description.size() == 80);
}

TEST_CASE("agent: a line has 512 bytes with its end")
{
    CHECK(understood("up #" + std::string(507, 'x') + "\nrest").starts_with("- up"));
    CHECK(understood("up #" + std::string(508, 'x') + "\n") == "!its line is too long");
}

TEST_CASE("agent: numbers have bounds, and are digits only")
{
    CHECK(understood("25601%") == "- - 25600 -"); // as HAProxy has it
    CHECK(understood("99999999999999999999999%") == "- - 25600 -");
    CHECK(understood("maxconn:99999999999999999999999") == "- - - 1000000");
    for (const char* bad :
         {"%", "-5%", "+5%", "7.5%", "75%%", "75 %", "75", "0x10%", "maxconn:", "maxconn:-1", "maxconn: 30", "maxconn:3o"}) {
        CHECK_MESSAGE(understood(bad).starts_with("!not a word of an agent: "), std::string(bad));
    }
}

TEST_CASE("agent: a line with one word that is none of an agent's is not understood at all")
{
    CHECK(understood("server is down") == "!not a word of an agent: \"server\"");
    CHECK(understood("HTTP/1.1 400 Bad Request\r\n").starts_with("!"));
    CHECK(understood("up load=3").starts_with("!"));
    CHECK(understood("downs").starts_with("!"));
    CHECK(understood("<html>\x01\n") == "!not a word of an agent: \"<html>?\"");
    CHECK(understood(std::string("up\0down", 7)).starts_with("!"));
    for (const char* empty : {"", "\n", " ,\t, \r\n", "# nothing else", "\ndown"}) {
        CHECK(understood(empty) == "!it said nothing");
    }
}
