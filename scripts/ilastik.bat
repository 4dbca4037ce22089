@echo off
rem Stands in for ilastik's start script: scripts that call it only change a path.
if exist "%~dp0pixelforest.exe" ("%~dp0pixelforest.exe" %*) else (pixelforest %*)
exit /b %ERRORLEVEL%
