#include "thread_pool.h"

#include <unistd.h>

namespace splatseg {

ThreadPool& ThreadPool::instance() {
    // Never destroyed: at exit its threads are asleep, and in a forked child they do not exist.
    static std::mutex mutex;
    static ThreadPool* pool = nullptr;
    static pid_t owner = 0;
    const std::lock_guard<std::mutex> lock(mutex);
    if (pool == nullptr || owner != getpid()) {
        pool = new ThreadPool;
        owner = getpid();
    }
    return *pool;
}

void ThreadPool::run_erased(int threads, int64_t tasks, const void* context, Call call) {
    if (threads <= 1 || tasks <= 1) {
        for (int64_t task = 0; task < tasks; task++) call(context, task, 0);
        return;
    }
    const std::lock_guard<std::mutex> region(one_region_at_a_time_);
    const int helpers = static_cast<int>(std::min<int64_t>(threads, tasks)) - 1;
    {
        const std::lock_guard<std::mutex> lock(mutex_);
        while (static_cast<int>(threads_.size()) < helpers) {
            threads_.emplace_back([this] { sleep_and_work(); });
            threads_.back().detach();
        }
        context_ = context;
        call_ = call;
        tasks_ = tasks;
        next_ = 0;
        places_ = helpers;
        joined_ = 0;
        error_ = nullptr;
    }
    for (int i = 0; i < helpers; i++) wake_.notify_one();
    work(0);
    std::unique_lock<std::mutex> lock(mutex_);
    places_ = 0;
    done_.wait(lock, [this] { return working_ == 0; });
    if (error_) std::rethrow_exception(error_);
}

void ThreadPool::work(int worker) {
    try {
        for (int64_t task; (task = next_.fetch_add(1)) < tasks_;) call_(context_, task, worker);
    } catch (...) {
        next_ = tasks_;
        const std::lock_guard<std::mutex> lock(mutex_);
        if (!error_) error_ = std::current_exception();
    }
}

void ThreadPool::sleep_and_work() {
    std::unique_lock<std::mutex> lock(mutex_);
    for (;;) {
        wake_.wait(lock, [this] { return places_ > 0; });
        places_--;
        working_++;
        const int worker = ++joined_;
        lock.unlock();
        work(worker);
        lock.lock();
        if (--working_ == 0) done_.notify_all();
    }
}

}  // namespace splatseg
