// Shouts: standard input in capitals goes to a file of the job's own and to standard output, with what it was given.
//
//     zig c++ -target wasm32-wasi -Os -fno-exceptions -o shout.wasm shout.cpp
//     echo hello | wasmq run shout.wasm -- some arguments
#include <algorithm>
#include <cctype>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <dirent.h>
#include <string>
#include <sys/stat.h>
#include <vector>

static void check(bool good) {
    if (!good)
        std::abort();
}

static std::string read(std::FILE *file) {
    std::string text;
    for (int letter; (letter = std::fgetc(file)) != EOF;)
        text += static_cast<char>(letter);
    return text;
}

int main(int count, char **words) {
    std::vector<std::string> arguments(words + 1, words + count);
    if (!arguments.empty() && arguments[0] == "fail") {
        std::fputs("told to fail\n", stderr);
        std::abort();
    }
    std::string text = read(stdin);
    std::transform(text.begin(), text.end(), text.begin(), [](unsigned char letter) { return std::toupper(letter); });
    check(mkdir("made", 0777) == 0 && mkdir("made/deep", 0777) == 0);
    std::FILE *out = std::fopen("made/out.txt", "w");
    check(out && std::fputs(text.c_str(), out) >= 0 && std::fclose(out) == 0);
    std::vector<std::string> names;
    DIR *made = opendir("made");
    check(made);
    while (dirent *entry = readdir(made))
        if (entry->d_name[0] != '.')
            names.push_back(entry->d_name);
    closedir(made);
    std::sort(names.begin(), names.end());
    timespec start, end, pause{0, 20'000'000};
    clock_gettime(CLOCK_MONOTONIC, &start);
    nanosleep(&pause, nullptr);
    clock_gettime(CLOCK_MONOTONIC, &end);
    long slept = (end.tv_sec - start.tv_sec) * 1'000'000'000L + end.tv_nsec - start.tv_nsec;
    struct stat status;
    std::printf("arguments:");
    for (size_t at = 0; at < arguments.size(); at++)
        std::printf("%c%s", at ? '|' : ' ', arguments[at].c_str());
    const char *name = std::getenv("NAME");
    std::printf("\nNAME: %s\nmade:", name ? name : "");
    for (const std::string &each : names)
        std::printf(" %s", each.c_str());
    std::printf("\nslept: %s\n", slept >= 20'000'000L ? "true" : "false");
    std::printf("absent: %s\n", stat("/absent", &status) != 0 ? "true" : "false");
    std::FILE *again = std::fopen("/made/out.txt", "r");
    check(again);
    std::fputs(read(again).c_str(), stdout);
    return 3;
}
