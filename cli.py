from irbench.__main__ import main

if __name__ == "__main__":  # the processes that run cells import this file, and are not to start over
    main()
