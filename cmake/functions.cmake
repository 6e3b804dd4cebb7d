option(CAIRN_PCH "precompiles what most units include, for builds that start from nothing" OFF)

# cairn_precompile(TARGET KIND HEADERS…): the headers are compiled once for all targets of a kind that link no torch.
function(cairn_precompile target kind)
  if(NOT CAIRN_PCH)
    return()
  endif()
  get_property(first GLOBAL PROPERTY CAIRN_PCH_${kind})
  if(first)
    target_precompile_headers(${target} REUSE_FROM ${first})
  else()
    target_precompile_headers(${target} PRIVATE ${ARGN} <algorithm> <functional> <map> <memory> <optional> <set> <string>
      <vector> <fmt/core.h> ${CMAKE_SOURCE_DIR}/src/base/json.h)
    set_property(GLOBAL PROPERTY CAIRN_PCH_${kind} ${target})
  endif()
endfunction()

# cairn_library(NAME [TORCH] SOURCES… DEPENDS… PRIVATE… PCH…): one static library per folder of src/, named cairn_NAME
# (llm/plan: cairn_llm_plan).
# TORCH marks those that use tensors; they are left out when there is no libtorch (the sanitizer builds).
function(cairn_library name)
  cmake_parse_arguments(ARG "TORCH" "" "SOURCES;DEPENDS;PRIVATE;PCH" ${ARGN})
  if(ARG_TORCH AND NOT TARGET torch::torch)
    return()
  endif()
  list(TRANSFORM ARG_SOURCES PREPEND ${CMAKE_SOURCE_DIR}/src/${name}/)
  string(REPLACE / _ name ${name})
  add_library(cairn_${name} STATIC ${ARG_SOURCES})
  target_include_directories(cairn_${name} PUBLIC
    $<BUILD_INTERFACE:${CMAKE_SOURCE_DIR}/src> $<INSTALL_INTERFACE:include/cairn>)
  target_link_libraries(cairn_${name} PUBLIC ${ARG_DEPENDS} PRIVATE ${ARG_PRIVATE} $<BUILD_INTERFACE:cairn_warnings>)
  if(ARG_TORCH)
    target_link_libraries(cairn_${name} PUBLIC torch::torch)
  endif()
  if(ARG_PCH)
    target_precompile_headers(cairn_${name} PRIVATE ${ARG_PCH})
  elseif(NOT ARG_TORCH)
    cairn_precompile(cairn_${name} LIBRARY)
  endif()
  set_target_properties(cairn_${name} PROPERTIES EXPORT_NAME ${name})
  set_property(GLOBAL APPEND PROPERTY CAIRN_LIBRARIES cairn_${name})
endfunction()

# cairn_test(NAME [TORCH] SOURCES… DEPENDS…): one test binary per folder (linking libtorch costs a process half a
# second). ./test reads the list of them from tests.txt.
function(cairn_test name)
  cmake_parse_arguments(ARG "TORCH" "" "SOURCES;DEPENDS" ${ARGN})
  if(ARG_TORCH AND NOT TARGET torch::torch)
    return()
  endif()
  list(TRANSFORM ARG_SOURCES PREPEND ${CMAKE_SOURCE_DIR}/tests/${name}/)
  string(REPLACE / _ name ${name})
  add_executable(${name}_test ${ARG_SOURCES})
  target_compile_definitions(${name}_test PRIVATE CAIRN_SOURCE_DIR="${CMAKE_SOURCE_DIR}")
  target_include_directories(${name}_test PRIVATE ${CMAKE_SOURCE_DIR}/tests)
  target_link_libraries(${name}_test PRIVATE ${ARG_DEPENDS} cairn_warnings GTest::gmock GTest::gtest_main)
  if(NOT ARG_TORCH)
    cairn_precompile(${name}_test TEST <gmock/gmock.h>)
  endif()
  add_test(NAME ${name} COMMAND ${name}_test)
  set_property(GLOBAL APPEND PROPERTY CAIRN_TESTS ${name})
endfunction()

# cairn_fuzz(NAME DEPENDS…): tests/fuzz/NAME_fuzz.cc, with libFuzzer's main. Every library of this build is
# instrumented, see the preset `fuzz`.
function(cairn_fuzz name)
  cmake_parse_arguments(ARG "" "" "DEPENDS" ${ARGN})
  add_executable(${name}_fuzz ${CMAKE_SOURCE_DIR}/tests/fuzz/${name}_fuzz.cc)
  target_link_libraries(${name}_fuzz PRIVATE ${ARG_DEPENDS} cairn_warnings)
  target_link_options(${name}_fuzz PRIVATE -fsanitize=fuzzer)
endfunction()
