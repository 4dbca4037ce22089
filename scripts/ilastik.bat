@echo off
rem Stands in for ilastik's start script: scripts that call it only change a path.
setlocal
set "PIXELFOREST_STARTED_AS=ilastik.bat"
if exist "%~dp0pixelforest.exe" ("%~dp0pixelforest.exe" %*) else (pixelforest %*)
exit /b %ERRORLEVEL%
