// Adds the time of a scope to a stage of StageSeconds.
#pragma once

#include <chrono>

namespace splatseg {

class StopWatch {
  public:
    explicit StopWatch(double& stage) : stage_(stage), begin_(Clock::now()) {}
    ~StopWatch() { stage_ += std::chrono::duration<double>(Clock::now() - begin_).count(); }
    StopWatch(const StopWatch&) = delete;
    StopWatch& operator=(const StopWatch&) = delete;

  private:
    using Clock = std::chrono::steady_clock;
    double& stage_;
    Clock::time_point begin_;
};

}  // namespace splatseg
