// A small pool of threads that sleep when there is nothing to do.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

namespace splatseg {

class ThreadPool {
  public:
    // The pool of this process; a forked child gets a new one, since threads do not survive a fork.
    static ThreadPool& instance();

    // Runs function(task, worker) for every task in [0, tasks) on up to `threads` threads, the caller's among them.
    // `worker` in [0, threads) tells apart what runs at the same time. The first exception is thrown on.
    template <class Function>
    void run(int threads, int64_t tasks, const Function& function) {
        run_erased(threads, tasks, &function, [](const void* context, int64_t task, int worker) {
            (*static_cast<const Function*>(context))(task, worker);
        });
    }

  private:
    using Call = void (*)(const void* context, int64_t task, int worker);

    void run_erased(int threads, int64_t tasks, const void* context, Call call);
    void work(int worker);
    void sleep_and_work();

    std::mutex one_region_at_a_time_;
    std::mutex mutex_;
    std::condition_variable wake_, done_;
    std::vector<std::thread> threads_;
    const void* context_ = nullptr;
    Call call_ = nullptr;
    int64_t tasks_ = 0;
    std::atomic<int64_t> next_{0};
    int places_ = 0;   // how many sleepers may still join the current region
    int joined_ = 0;   // how many have
    int working_ = 0;  // how many of those are still at it
    std::exception_ptr error_;
};

}  // namespace splatseg
